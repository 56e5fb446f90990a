"""The command that answers others."""

from dataclasses import dataclass
from typing import Annotated

from tyro.conf import Positional, arg

from dfkd.cli import metavars
from dfkd.cli.image_options import UNSAID, ImageOptions


@dataclass(frozen=True)
class Serve:
    """A teacher behind http://127.0.0.1:PORT, for trying clients: only this machine is listened to.

    Attributes:
        teacher: MODEL, see `dfkd distill --help`.
        show: What is shown of its answers: logits, probs or top1.
        port: Where; 0 takes one that is free. The address is printed.
        price: Of a query, as clients are told.
        rate: Images a second, as clients are told; any number where none is given.
        facts: What images the model takes, where its source does not say.
        debug: Show the traceback of a mistake.
    """

    teacher: Positional[metavars.TeacherURI]
    show: str = "probs"
    port: int = 0
    price: float = 0.0
    rate: metavars.OptionalFloat = None
    facts: Annotated[ImageOptions, arg(name="")] = UNSAID
    debug: metavars.Debug = False
