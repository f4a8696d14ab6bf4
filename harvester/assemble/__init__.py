"""Job -> Source, Transport, Cache, Ledger, Engine: the only place that knows all classes.

Import from the module that is needed: ``sources`` opens what a job names, ``plan`` plans it, ``run`` harvests it,
``sample``
estimates it. Opening a source must not cost the imports of a whole run.
"""
