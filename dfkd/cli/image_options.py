"""What images a model takes, as several commands ask."""

from dataclasses import dataclass

from tyro.conf import UseAppendAction

from dfkd.cli import metavars


@dataclass(frozen=True)
class ImageOptions:
    """What images the model takes, where its source does not say.

    Attributes:
        image: CHANNELSxHEIGHTxWIDTH, such as 3x224x224.
        mean: One number a channel, in units of [0, 1] intensity.
        std: One positive number a channel.
        class_names: A text file with one name a line; repeated, one for each model in turn.
        prior: What images are compared with: batch_norm, nothing, or another name of `dfkd probe`;
            what the teacher's batch-norms store, if any, where none is given.
    """

    image: metavars.ImageShape = None
    mean: metavars.Channels = None
    std: metavars.Channels = None
    class_names: UseAppendAction[metavars.Files] = ()
    prior: metavars.PriorName = None


UNSAID = ImageOptions()
"""All of it as the model's source says."""
