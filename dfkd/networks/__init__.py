"""What is true of any ``nn.Module``: architectures, layers by name, modes, copies, attacks."""

from dfkd.networks.zoo import bilstm, count_parameters, initialise, resnet, vgg

__all__ = ["bilstm", "count_parameters", "initialise", "resnet", "vgg"]
