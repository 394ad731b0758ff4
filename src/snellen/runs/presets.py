"""The named recipes, as plain data."""

from dataclasses import replace

from snellen.runs.recipe import Recipe

DEFAULT = "fast"

RECORD = Recipe(
    model="whitened_cnn",
    epochs=8,
    batch_size=2000,
    piece_size=250,
    optimizer="muon",
    muon_lr=0.24,
    muon_momentum=0.6,
    # The original's 0.053 and 0.67 are for a loss summed over the batch; for a mean they are 2,000 times as large.
    peak_lr=0.053 * 2000,
    head_lr=0.67 * 2000,
    momentum=0.85,
    nesterov=True,
    weight_decay=0.0,
    step_decay=2e-6 * 2000,
    schedule="linear",
    whiten_bias_share=3 / 8,
    label_smoothing=0.2,
    flip="alternating",
    crop_pad=2,
    crop_border="reflect",
    views=6,
)
D2L = Recipe(
    model="resnet18",
    epochs=20,
    batch_size=32,
    # The chapter's 2e-4 is for a loss summed over the batch; for a mean it is 32 times as large.
    peak_lr=2e-4 * 32,
    momentum=0.9,
    # Likewise its 5e-4 is added to a summed gradient; for a mean gradient it is 1/32 of that.
    weight_decay=5e-4 / 32,
    decay_all=True,
    lr_drop_every=4,
    lr_drop=0.9,
    flip="random",
    crop_pad=0,
    enlarge=1.25,
    crop_area=0.64,
    precision="float32",
)
D2L_EXERCISE = replace(
    D2L, epochs=100, batch_size=128, peak_lr=0.1, weight_decay=5e-4, lr_drop_every=0, lr_drops=(50,), lr_drop=0.1
)
GLUONCV = Recipe(
    model="cifar_resnet20_v2",
    epochs=240,
    batch_size=128,
    peak_lr=0.1,
    momentum=0.9,
    nesterov=True,  # MXNet's nag; its momentum holds the learning rate, so the two differ for some steps after a drop
    weight_decay=1e-4,
    decay_all=True,
    lr_drops=(80, 160),
    lr_drop=0.1,
    flip="random",
    crop_pad=4,
    crop_border="zero",
)

# Valid accuracy (with the recipe's views) by the number of epochs on CURVES_IMAGES images; lab-notes 2026-11-20.
CURVES_IMAGES, CURVES_VALID = 45_000, "5,000 images, JPEG form"
CURVES: dict[str, tuple[tuple[float, float], ...]] = {
    "fast": ((1, 0.8196), (2, 0.8642), (5, 0.8955), (8, 0.9080)),
    "record": ((8, 0.9079),),
    "strong": ((18, 0.9200),),
}

# Fewest and most epochs of `photo` that a budget plans; with fewer, `probe` is planned. Estimates, not measured.
PHOTO_EPOCHS = (2.0, 16.0)

FAST = replace(
    RECORD,
    epochs=5,
    batch_size=500,
    muon_lr=0.12,
    peak_lr=53,
    head_lr=670,
    step_decay=0.002,
    first_group_share=0.5,
    views=2,
)
STRONG = replace(
    FAST,
    model="whitened_resnet",
    epochs=18,
    first_group_share=1.0,
    crop_pad=4,
    cutout=8,
    small_size=24,
    small_share=0.5,
)

PROBE = Recipe(
    model="efficientnet_lite0_levels",
    start="imagenet-efficientnet-lite0",
    optimizer="lbfgs",
    epochs=1,
    batch_size=32,
    peak_lr=0,
    weight_decay=0,
    flip="off",
    crop_pad=0,
)
PHOTO = Recipe(
    model="efficientnet_lite0",
    start="imagenet-efficientnet-lite0",
    fitted_head=True,
    frozen_norm=True,
    frozen_blocks=2,
    optimizer="adamw",
    epochs=7,
    batch_size=32,
    piece_size=16,
    peak_lr=2e-4,
    weight_decay=0.05,
    schedule="cosine",
    warmup=0.1,
    flip="random",
    crop_pad=0,
    crop_area=0.7,
    small_size=224,
    small_share=1.0,
    views=2,
)

PRESETS = {
    # Takes seconds on any machine. For tests and a first look; the accuracy is meaningless.
    "smoke": Recipe(model="whitened_cnn", epochs=1, batch_size=16, peak_lr=20, head_lr=20, weight_decay=0, flip="off"),
    # The default: 89.55 +- 0.21% valid accuracy on CIFAR-10 (JPEG form) with two views, 3 seeds; lab-notes 2026-11-20.
    "fast": FAST,
    # The CIFAR-10 speed record (Muon variant), in pieces that fit a processor's cache: 90.79 +- 0.06% with six views, 3
    # seeds; lab-notes 2026-11-20.
    "record": RECORD,
    # Photographs in seconds: a logistic regression on features of several depths of a network trained on ImageNet.
    # 90.2% on TrashNet, mean of three splits; lab-notes 2026-11-25.
    "probe": PROBE,
    # Photographs in minutes: the network trained further. 92.8% on TrashNet, mean of 3 splits (lab-notes 2026-11-25),
    # 74.0% on 450 flowers after 5 epochs, where a probe of its last features has 68.0%, one seed (2026-11-24).
    "photo": PHOTO,
    # `photo` for machines without fast bfloat16: on smaller images, with half the work. Not measured yet.
    "photo_light": replace(PHOTO, small_size=160),
    # About an hour on two cores: 92.00% with two views, 92.24% with six, one seed; lab-notes 2026-11-20.
    "strong": STRONG,
    # The same, as long as the paper's 96% recipe (arXiv:2404.00498, section 5), for a GPU: whole images, more of them,
    # and a larger cutout. Not measured here: it would take 2.2 hours.
    "best": replace(STRONG, epochs=40, cutout=12, small_size=0, small_share=0.0, views=6),
    # GluonCV's first model in a fifth of the time. The packaged cifar10-resnet20 was trained with it: 89.60% valid
    # accuracy with two views (one seed; docs/models/cifar10-resnet20.md).
    "resnet20": replace(
        GLUONCV,
        epochs=50,
        peak_lr=0.2,
        warmup=0.1,
        schedule="cosine",
        lr_drops=(),
        weight_decay=5e-4,
        decay_all=False,
        views=2,
    ),
    # The chapter "Image Classification (CIFAR-10) on Kaggle", PyTorch tab.
    "d2l": D2L,
    "d2l_plain": replace(D2L, flip="off", enlarge=1.0, crop_area=1.0),
    # Its MXNet tab, where the gradient is already a mean, so lr and weight decay are as printed.
    "d2l_mxnet": replace(D2L, model="resnet18_mxnet", peak_lr=0.02, weight_decay=5e-4),
    # Its exercise. As printed (lr 0.1 on a summed gradient, 12.8 on its mean) the PyTorch tab diverges.
    "d2l_exercise": D2L_EXERCISE,
    "d2l_exercise_plain": replace(D2L_EXERCISE, flip="off", enlarge=1.0, crop_area=1.0),
    # GluonCV's tutorial and scripts. Published on the original images: 92.1% (20), 94.3% (110), 95.6% (wide 28-10),
    # 92.7% (20 with mixup).
    "gluoncv_resnet20_v2": GLUONCV,
    "gluoncv_resnet110_v2": replace(GLUONCV, model="cifar_resnet110_v2"),
    "gluoncv_resnet20_v2_mixup": replace(GLUONCV, epochs=350, lr_drops=(150, 250), mixup=1.0, mix_off_epochs=20),
    "gluoncv_wideresnet28_10": replace(
        GLUONCV, model="cifar_wideresnet28_10", epochs=200, weight_decay=5e-4, lr_drops=(60, 120, 160), lr_drop=0.2
    ),
}
