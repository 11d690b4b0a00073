"""The steps by which the registry's tables came to be what they are: one module of `versions` each, run by Alembic.

A step is never changed once it was released. A new one names the step before it as its `down_revision`, and
`heliograph.registry.upgrade.NEWEST` names the last. There is no way back: records are not taken away.
"""
