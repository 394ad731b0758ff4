"""Named recipes; data only."""

from saccade.recipe import Recipe

DEFAULT = "quick"

PRESETS = {
    # Seconds on any machine. For tests and a first look; the accuracy means nothing.
    "smoke": Recipe(model="whitened_cnn", epochs=1, batch_size=16, peak_lr=20, head_lr=20, weight_decay=0, flip="off"),
    # The small network of the CIFAR-10 record, few epochs: the default until a faster one is as good.
    "quick": Recipe(
        model="whitened_cnn",
        epochs=8,
        batch_size=500,
        piece_size=250,
        optimizer="muon",
        muon_lr=0.24,
        muon_momentum=0.6,
        peak_lr=0.053 * 2000,
        head_lr=0.67 * 2000,
        momentum=0.85,
        nesterov=True,
        weight_decay=0.0,
        step_decay=0.004,
        schedule="linear",
        whiten_bias_share=0.375,
        label_smoothing=0.2,
        flip="alternating",
        crop_pad=2,
        crop_border="reflect",
        views=2,
    ),
    # The chapter "Image Classification (CIFAR-10) on Kaggle", PyTorch tab.
    "d2l": Recipe(
        model="resnet18",
        epochs=20,
        batch_size=32,
        # The chapter's 2e-4 multiplies the gradient of the batch's sum; of its mean that is 32 times as much.
        peak_lr=2e-4 * 32,
        momentum=0.9,
        # Likewise its 5e-4 meets a summed gradient: beside a mean gradient it counts 1/32.
        weight_decay=5e-4 / 32,
        decay_all=True,
        lr_drop_every=4,
        lr_drop=0.9,
        flip="random",
        crop_pad=0,
        enlarge=1.25,
        crop_area=0.64,
        precision="float32",
    ),
}
