"""Esri's export tools without Esri: the parameters of arcpy, harvester's runs and caches."""
