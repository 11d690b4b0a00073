"""Python imports this first where ``PYTHONPATH`` names its folder: every library then logs all that it has to say.

Nobody can set more than this: it is the loudest log that the gateway, the loader and the agent can have.
"""

import logging

logging.basicConfig(level=logging.NOTSET)
