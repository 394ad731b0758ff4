from snellen.competition.compete import compete as compete
from snellen.competition.kaggle import download as download
from snellen.competition.kaggle import submit as submit
from snellen.competition.submission import write_submission as write_submission
from snellen.competition.submit_pictures import submit_pictures as submit_pictures
from snellen.errors import SnellenError as SnellenError
from snellen.images.imageset import ImageSet as ImageSet
from snellen.images.organize import organize as organize
from snellen.images.prepare import prepare as prepare
from snellen.models.import_gluon import import_gluon as import_gluon
from snellen.models.model_file import load_model as load_model
from snellen.prediction.embed import embed as embed
from snellen.prediction.evaluate import evaluate as evaluate
from snellen.prediction.predict import predict as predict
from snellen.prediction.predictions import Predictions as Predictions
from snellen.reports.check import check as check
from snellen.reports.compare import compare as compare
from snellen.reports.report import report as report
from snellen.runs.presets import PRESETS as PRESETS
from snellen.runs.recipe import Recipe as Recipe
from snellen.runs.run import Run as Run
from snellen.serving.export import export as export
from snellen.serving.serve import serve as serve
from snellen.training.cross_validate import cross_validate as cross_validate
from snellen.training.train import train as train
from snellen.training.tune import tune as tune

__version__: str
