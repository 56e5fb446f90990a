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
        access: logits, probs or top1: no more than that is seen of the answers, and each is
            counted; a MODEL http://HOST:PORT shows what it shows.
        queries: Images that a run may ask about then; any number where none is given.
        ledger: File that keeps answers and account then, so that nothing is paid twice; that of a
            run is beside --out, called OUT.queries.
        task: What its answers mean: classification (one class an image) or multilabel (labels that
            are on or off each by itself).
        only_classes: Of the model's classes those that count, by name or index; all others are left
            out, and so are their images.
    """

    image: metavars.ImageShape = None
    mean: metavars.Channels = None
    std: metavars.Channels = None
    class_names: UseAppendAction[metavars.Files] = ()
    prior: metavars.PriorName = None
    access: metavars.OptionalStr = None
    queries: metavars.OptionalInt = None
    ledger: metavars.File = None
    only_classes: metavars.Classes = None
    task: metavars.TaskName = None


UNSAID = ImageOptions()
"""All of it as the model's source says."""
