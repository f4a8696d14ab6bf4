"""An ArcGIS Pro toolbox: export the tiles of a cached service, its scales ticked in a list, without Esri's server tools.

harvester runs as a program of its own, in an environment of its own; nothing of it is imported into ArcGIS Pro. Name
the program in the tool (harvester.exe, or the python.exe of its environment) or in the variable HARVESTER_EXE.
"""

import functools
import json
import os
import queue
import re
import shutil
import signal
import subprocess
import tempfile
import threading

import arcpy

ASK_SECONDS = 60
"""The service has this long to say which scales it has; the dialog waits for it."""

POLL_SECONDS = 0.2
"""Between two looks whether Cancel was pressed."""

GRACE_SECONDS = 60
"""After Cancel the answers under way are awaited and written; then the program is ended. What it stored stays."""

STOPPED = (130, 143)

NAMED = 10
"""Failed tiles that are named one by one."""

NAME_IT = "Name harvester.exe, or the python.exe of its environment (parameter, or variable HARVESTER_EXE)."

BOXES = {
    r"--overwrite OVERWRITE": 'tick "Replace an existing cache"',
    r"--token-env(?:, --username with --password-env|, or use --username and --password-env| or --header)?": (
        '"Environment variable that holds a token"'
    ),
    r"--area-of-interest(?: or --export-extent)?": '"Area of Interest"',
    r"--export-cache-type": '"Export Cache Type"',
    r"--storage-format-type": '"Storage Format"',
    r"--scales": '"Scales"',
    r"same command": "same export",
}
"""Words of the command line, and what a person finds in the dialog."""

WINDOWS = os.name == "nt"

INHERITED = re.compile(r"(?i)^(python|conda|gdal_|proj_)")
"""Variables of ArcGIS Pro's own Python and GDAL, which would lead another Python astray."""

CACHE_TYPES = ["TILE_PACKAGE", "CACHE_DATASET"]
PACKED = ["COMPACT_V2", "COMPACT"]
"""What may be chosen; the first is chosen already."""

SERVICE, TARGET, SCALES, AREA, CACHE_TYPE, STORAGE, OVERWRITE, INSTANCES, TOKEN_ENV, PROGRAM, OUTPUT = range(11)


class Toolbox:
    """What ArcGIS Pro lists."""

    def __init__(self):
        self.label = "harvester"
        self.alias = "harvester"
        self.tools = [ExportTiles]


class ExportTiles:
    """Esri's Export Map Server Cache, done by harvester."""

    def __init__(self):
        self.label = "Export Tiles of a Cached Service"
        self.description = (
            "Exports the tiles of a cached map or image service as a tile package or a cache dataset. Tiles are copied "
            "whole: they are neither clipped at the edge of the area of interest nor blended with those in the target."
        )
        self.canRunInBackground = True

    def getParameterInfo(self):
        """The parameters, in the order of their numbers above."""
        service = _parameter("input_service", "Service (REST URL)", "GPString")
        target = _parameter("target_cache_path", "Target Folder", "DEFolder")
        scales = _parameter("scales", "Scales", "GPString", choices=[], multiValue=True)
        area = _parameter("area_of_interest", "Area of Interest", "GPFeatureLayer", optional=True)
        cache_type = _parameter("export_cache_type", "Export Cache Type", "GPString", choices=CACHE_TYPES)
        storage = _parameter("storage_format_type", "Storage Format", "GPString", choices=PACKED)
        overwrite = _parameter("overwrite", "Replace an existing cache", "GPBoolean", optional=True)
        overwrite.value = False
        instances = _parameter(
            "num_of_caching_service_instances", "Most requests at a time (-1: open)", "GPLong", optional=True
        )
        instances.value = -1
        token_env = _parameter("token_env", "Environment variable that holds a token", "GPString", optional=True)
        program = _parameter("program", "harvester program", "DEFile", optional=True)
        program.value = os.environ.get("HARVESTER_EXE") or shutil.which("harvester")
        output = _parameter("output", "Output", "GPString", parameterType="Derived", direction="Output")
        return [service, target, scales, area, cache_type, storage, overwrite, instances, token_env, program, output]

    def isLicensed(self):
        """No licence is needed."""
        return True

    def updateParameters(self, parameters):
        """Fill the list of scales with those of the service, all of them unticked; and the formats of the type."""
        packed = parameters[CACHE_TYPE].valueAsText == "TILE_PACKAGE"
        parameters[STORAGE].filter.list = PACKED if packed else [*PACKED, "EXPLODED"]
        asked = (parameters[SERVICE], parameters[TOKEN_ENV], parameters[PROGRAM])
        if all(parameter.hasBeenValidated for parameter in asked):
            return
        scales_of.cache_clear()
        scales = parameters[SCALES]
        listed, _ = _scales(parameters)
        scales.filter.list = listed
        ticked = [value for value in scales.values or () if value in listed]
        if ticked != list(scales.values or ()):
            scales.values = ticked

    def updateMessages(self, parameters):
        """Say why a service has no scales to tick."""
        if parameters[SERVICE].valueAsText:
            _, trouble = _scales(parameters)
            if trouble:
                parameters[SERVICE].setErrorMessage(trouble)

    def execute(self, parameters, messages):
        """Run harvester, relay what it says, pass on Cancel."""
        arcpy.env.autoCancelling = False
        with tempfile.TemporaryDirectory() as folder:
            command = _command(parameters, folder)
            with open(os.path.join(folder, "report.json"), "w+", encoding="utf-8") as report:
                code, plain = _run(command, report)
                report.seek(0)
                document = _document(report.read())
        trouble = document.get("error") or {}
        if code in STOPPED and "Nothing was done yet." in plain:
            arcpy.AddWarning("Stopped before anything was asked; nothing was written.")
            return
        # On stderr it says its error for a person as well; once is enough.
        for line in plain:
            if line not in (f"error: {trouble.get('message')}", trouble.get("hint")):
                arcpy.AddWarning(_in_boxes(line))
        if code in STOPPED:
            kept = "Stopped; what was fetched is kept, and the same export goes on with what is missing."
            arcpy.AddWarning(_in_boxes(f"{trouble['message']}. {trouble['hint']}") if trouble else kept)
            return
        if trouble:
            arcpy.AddError(_in_boxes(f"{trouble['message']} {trouble['hint']}"))
        if "failed" in document and code != 0:
            _tell_of_failed(document)
        elif not trouble and "stored" not in document:
            what = f"{command[0]} ended without a report (exit code {code}): it is not harvester, or could not work."
            arcpy.AddError(f"{what} {NAME_IT}")
            raise arcpy.ExecuteError(what)
        if code != 0:
            raise arcpy.ExecuteError(f"harvester ended with exit code {code}")
        arcpy.AddMessage(f"{document['stored']} tiles in {document['output']}")
        parameters[OUTPUT].value = document["output"]


def _in_boxes(text):
    """What harvester says, with the boxes of the dialog in place of its options."""
    for option, box in BOXES.items():
        text = re.sub(option, box, text)
    return text


def _tell_of_failed(document):
    """Which tiles are missing, why, and where the others are."""
    arcpy.AddError(f"{document['failed']} tiles failed, {document['pending']} are pending.")
    for tile in document.get("failures", [])[:NAMED]:
        why = tile.get("detail") or tile["reason"]
        arcpy.AddError(f"LOD {tile['level']}, row {tile['row']}, column {tile['col']}: {why}")
    if document["failed"] > NAMED:
        arcpy.AddError(f"... and {document['failed'] - NAMED} more.")
    if os.path.exists(document["output"]):
        arcpy.AddMessage(f"{document['stored']} tiles are in {document['output']}; the same export asks for the rest.")


def _document(text):
    """What the program wrote at its end; nothing, if it was ended before that."""
    try:
        document = json.loads(text)
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}


def _parameter(name, title, kind, *, choices=None, optional=False, **settings):
    settings = {"parameterType": "Optional" if optional else "Required", "direction": "Input", **settings}
    parameter = arcpy.Parameter(name=name, displayName=title, datatype=kind, **settings)
    if choices is not None:
        parameter.filter.type = "ValueList"
        parameter.filter.list = choices
    if choices:
        parameter.value = choices[0]
    return parameter


# ---------------------------------------------------------------------------------------------- asking for scales


def _scales(parameters):
    service = parameters[SERVICE].valueAsText
    if not service:
        return [], ""
    return scales_of(parameters[PROGRAM].valueAsText or "", service.strip(), parameters[TOKEN_ENV].valueAsText or "")


@functools.lru_cache(maxsize=16)
def scales_of(program, service, token_env):
    """The scales of a service, as texts, and what went wrong ("" if nothing did). ArcGIS Pro asks at every keystroke
    elsewhere in the dialog, hence the cache."""
    if not program:
        return [], NAME_IT
    command = [*_start_of(program), "scales", service, "--json"]
    if token_env:
        command += ["--token-env", token_env]
    try:
        found = subprocess.run(
            command, capture_output=True, encoding="utf-8", errors="replace", timeout=ASK_SECONDS, **_surroundings()
        )
        document = _document(found.stdout)
    except subprocess.TimeoutExpired:
        return [], f"The service did not answer within {ASK_SECONDS} seconds."
    except (OSError, ValueError) as error:
        return [], f"{program} could not be asked: {error}"
    if not document:
        return [], f"{program} is not harvester: it does not answer as harvester does. {NAME_IT}"
    if "error" in document:
        return [], _in_boxes("{message} {hint}".format(**document["error"]))
    if "lods" not in document:
        return [], "This is a web map: export its layers one by one."
    if document["kind"] == "arcgis-vector":
        return [], f"This is a vector tile service: harvester run {document['source']} -o NAME.vtpk takes it offline."
    return [f"{lod['scale']:.6f}" for lod in document["lods"]], ""


# ---------------------------------------------------------------------------------------------- running


def _start_of(program):
    """``harvester``, or the Python that it is installed in."""
    name = os.path.basename(program).lower()
    return [program, "-m", "harvester"] if re.match(r"python[\d.]*(\.exe)?$", name) else [program]


def _surroundings():
    """An environment without ArcGIS Pro's own Python, UTF-8 throughout, no console window."""
    environment = {name: value for name, value in os.environ.items() if not INHERITED.match(name)}
    settings = {"env": {**environment, "PYTHONUTF8": "1"}, "stdin": subprocess.DEVNULL}
    if WINDOWS:
        settings["creationflags"] = subprocess.CREATE_NO_WINDOW | subprocess.CREATE_NEW_PROCESS_GROUP
    return settings


def _command(parameters, folder):
    """The command line of an export; the area of interest goes into a file, with the layer's selection only."""
    texts = [parameter.valueAsText for parameter in parameters]
    command = [*_start_of(texts[PROGRAM] or "harvester"), "export", texts[SERVICE].strip(), texts[TARGET]]
    command += ["--export-cache-type", texts[CACHE_TYPE], "--storage-format-type", texts[STORAGE]]
    command += ["--copy-data-from-server", "COPY_DATA", "--scales", ";".join(parameters[SCALES].values)]
    command += ["--overwrite", "OVERWRITE" if parameters[OVERWRITE].value else "MERGE"]
    command += ["--num-of-caching-service-instances", texts[INSTANCES] or "-1"]
    if texts[TOKEN_ENV]:
        command += ["--token-env", texts[TOKEN_ENV]]
    if texts[AREA]:
        path = os.path.join(folder, "area.json")
        area = arcpy.FeatureSet(texts[AREA]).JSON
        _tell_of_levels(_document(area))
        with open(path, "w", encoding="utf-8") as file:
            file.write(area)
        command += ["--area-of-interest", path]
    return [*command, "--json", "--progress", "json"]


def _tell_of_levels(area):
    """A feature's attribute ``level`` restricts it to that LOD (the holes of a cache have one); a floor's level is a
    number, too."""
    found = [
        (name, int(float(value)))
        for feature in area.get("features", ())
        for name, value in (feature.get("attributes") or {}).items()
        if name.lower() == "level" and re.fullmatch(r"[0-9]+(\.0)?", str(value).strip())
    ]
    if found:
        lods = ", ".join(map(str, sorted({level for _, level in found})))
        arcpy.AddWarning(
            f'The Area of Interest has a field "{found[0][0]}" with numbers: features that have one are exported at '
            f"LOD {lods} alone, each at its own, whatever scales are ticked. For all ticked scales, export with a "
            "layer without that field."
        )


def _run(command, report):
    """Run to the end, or to Cancel; gives the exit code, and what it said in plain lines. stdout goes into
    ``report``."""
    try:
        process = subprocess.Popen(
            command, stdout=report, stderr=subprocess.PIPE, encoding="utf-8", errors="replace", **_surroundings()
        )
    except OSError as error:
        what = f"{command[0]} could not be started ({error.strerror or error})."
        arcpy.AddError(f"{what} {NAME_IT}")
        raise arcpy.ExecuteError(what) from error
    plain = []
    lines = queue.Queue()
    reader = threading.Thread(target=lambda: [lines.put(line) for line in process.stderr], daemon=True)
    reader.start()
    cancelled = False
    while reader.is_alive() or not lines.empty():
        try:
            _relay(lines.get(timeout=POLL_SECONDS), plain)
        except queue.Empty:
            pass
        if arcpy.env.isCancelled and not cancelled:
            cancelled = True
            arcpy.AddMessage("Cancel: answers under way are awaited and written.")
            _stop(process)
            timer = threading.Timer(GRACE_SECONDS, process.kill)
            timer.daemon = True
            timer.start()
    code = process.wait()
    if cancelled:
        timer.cancel()
        return (code if code == 0 else STOPPED[0]), plain
    return code, plain


def _relay(line, plain):
    """One line of ``--progress json``; anything else is put in ``plain``."""
    said = _document(line)
    if not said:
        if line.strip():
            plain.append(line.strip())
        return
    if said.get("type") == "notice":
        arcpy.AddMessage(_in_boxes(said["text"]))
    elif said.get("type") == "started":
        arcpy.SetProgressor("step", f"{said['planned']} tiles", 0, 100, 1)
    elif said.get("type") == "progress" and said["planned"]:
        done = said["planned"] - said["pending"]
        arcpy.SetProgressorPosition(100 * done // said["planned"])
        arcpy.SetProgressorLabel(f"{done} of {said['planned']} tiles, {said['tiles_per_second']:.0f} a second")


def _stop(process):
    """Ask the program to stop in order: Ctrl-Break on Windows, SIGINT elsewhere."""
    if not WINDOWS:
        process.send_signal(signal.SIGINT)
        return
    import ctypes

    # A Ctrl-Break reaches only programs on the caller's own console. ArcGIS Pro has none, so it joins the program's.
    kernel = ctypes.windll.kernel32
    joined = bool(kernel.AttachConsole(process.pid))
    try:
        process.send_signal(signal.CTRL_BREAK_EVENT)
    except OSError:
        process.terminate()  # every batch is durable as it is written: nothing that was stored is lost
    finally:
        if joined:
            kernel.FreeConsole()
