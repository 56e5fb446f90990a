"""Training schemes: one file each, every one a ``Distiller``."""
