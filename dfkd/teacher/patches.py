"""The patches of a teacher that is a transformer: asked once, by a trial."""

from torch import Tensor

from dfkd.networks.foreign import calling
from dfkd.networks.layers import unwrap
from dfkd.networks.tokens import PatchCut, find_cut, pixel_owners
from dfkd.teacher.teacher import Teacher
from dfkd.teacher.trial import trial_noise


def patches_of(teacher: Teacher) -> tuple[PatchCut, Tensor]:
    """Find where a teacher's patches can be left out, and which of them reads each pixel.

    Args:
        teacher: comes out as it went in.

    Returns:
        The cut, and H x W indices of its patches, -1 for a pixel that none reads.

    Raises:
        DfkdError: it is no transformer whose patches can be left out.
    """
    network = unwrap(teacher.network)
    noise = trial_noise(network, teacher.spec)
    with calling("the teacher", noise.shape):
        cut = find_cut(network, noise)
        return cut, pixel_owners(network, noise, cut)
