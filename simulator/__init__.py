"""Strict stand-ins for APNs, FCM (and Google's token endpoint) and a Web Push service, faults on demand.

Develop, test and rehearse against it: `python -m simulator`. Knows nothing of the product: no Django, no
database; it is an independent witness of what arrived where.
"""
