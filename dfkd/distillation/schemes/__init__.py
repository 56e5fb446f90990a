"""Training schemes, one file each: a ``Scheme``, or how one teacher is made of what is given."""
