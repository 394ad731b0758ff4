import json

import numpy as np
import torch

from snellen.system.versions import versions


def test_the_description_is_json_and_names_the_versions():
    facts = versions()
    assert json.loads(json.dumps(facts)) == facts
    assert facts["torch"] == torch.__version__
    assert facts["numpy"] == np.__version__
    assert facts["threads"] == torch.get_num_threads()
    assert all(facts.values())
