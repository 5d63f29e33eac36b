"""What the web server serves."""

import multiprocessing
import os

from django.core.wsgi import get_wsgi_application

from config import orphans

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

application = get_wsgi_application()

# Granian's workers outlive a killed main process, and would answer on its port beside the next one's.
if (parent := multiprocessing.parent_process()) and parent.pid:
    orphans.watch(parent.pid, orphans.terminate)
