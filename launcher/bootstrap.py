"""Builds the two virtual environments: `.venv` for Drape and `.venv-label-studio` for the stock Label Studio.

It runs before anything is installed, under whatever Python the system has. So it uses only the standard library, and
must parse under Pythons that are too old, to report that they are.
"""

import argparse
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from glob import glob

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
OLDEST, NEWEST = (3, 10), (3, 13)
DEV_REQUIREMENTS = ["requirements-dev.txt", "requirements-students.txt", "requirements.txt"]
CANDIDATES = ("python3.12", "python3.11", "python3.10", "python3.13", "python3", "python")
# Disk space that each environment needs, in bytes: its installed size, with room for the downloads.
DISK_BYTES = {".venv": 9.0e9, ".venv-label-studio": 1.5e9}
# What of it is CUDA, which builds of torch for the processor do without.
CUDA_BYTES = 4.5e9
# PyTorch's own index of those builds; the usual index has them for Linux with CUDA alone.
CPU_INDEX = "https://download.pytorch.org/whl/cpu"
INDEX_TIMEOUT_S = 5
# As in `backend/compute/devices.py`: one of them is there where NVIDIA's driver is.
NVIDIA_FILES = ("/dev/nvidiactl", "/proc/driver/nvidia/version", "/dev/nvmap", "/dev/dxg")
TORCH = ("torch", "torchvision")
REMEDIES = (
    (
        r"No space left on device",
        "The disk is full. Free some space and run it again. Finished steps are kept.",
    ),
    (
        r"(command '[^']*(gcc|cc|clang|g\+\+)[^']*' failed: No such file)|(unable to execute '[^']*(gcc|cc)')"
        r"|(Microsoft Visual C\+\+)|(Python\.h: No such file)",
        "A package must be compiled, but there is no compiler or no Python headers. Install them "
        "(Debian: apt install gcc python3-dev; macOS: xcode-select --install) and run it again.",
    ),
    (
        r"(NewConnectionError)|(Temporary failure in name resolution)|(Read timed out)|(ConnectionResetError)"
        r"|(Could not fetch URL)|(ProxyError)|(IncompleteRead)|(Connection broken)|(Max retries exceeded)",
        "A download failed. Check the connection (and the proxy, if there is one) and run it again. "
        "Finished downloads are kept.",
    ),
    (
        r"(No matching distribution found for \S+)|(Could not find a version that satisfies)",
        "The package index offers no version of a package for this Python or machine. "
        "Use Python 3.10 to 3.13 on Linux or macOS, or another index.",
    ),
    (r"THESE PACKAGES DO NOT MATCH THE HASHES", "A download was damaged. Run it again."),
    (
        r"(No module named '?ensurepip)|(ensurepip is not available)",
        "This Python cannot create virtual environments. Install its venv module (Debian: apt install python3-venv).",
    ),
)


class InstallError(Exception):
    """An installation that cannot continue; the message is one line for the user."""


def print_line(text):
    """Prints one line without buffering."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def python_version(executable):
    """Returns `(major, minor)` of a Python executable, or None if it does not run."""
    try:
        code = "import sys; print('%d %d' % sys.version_info[:2])"
        answer = subprocess.check_output([executable, "-c", code], stderr=subprocess.DEVNULL)
        major, minor = answer.decode().split()
        return int(major), int(minor)
    except (OSError, subprocess.CalledProcessError, ValueError):
        return None


def find_python(candidates=CANDIDATES):
    """Finds a supported Python: the one that runs this script if it is supported, else the first match on the PATH."""
    if sys.version_info < (3, 3):
        raise InstallError("Drape needs Python 3.10 to 3.13; this is Python %d.%d." % sys.version_info[:2])
    unsupported = []
    for name in (sys.executable,) + tuple(candidates):
        path = shutil.which(name) if name else None
        version = python_version(path) if path else None
        if version is not None and OLDEST <= version <= NEWEST:
            return path, version
        if version is not None:
            unsupported.append("%d.%d" % version)
    raise InstallError(
        "Drape needs Python 3.10 to 3.13; found %s. Install one (Debian: apt install python3 python3-venv; "
        "macOS: brew install python@3.12) and run it again." % (", ".join(sorted(set(unsupported))) or "none")
    )


def remedy(output):
    """Returns one line about pip's output: the remedy for a known failure, else pip's last error line."""
    for pattern, line in REMEDIES:
        if re.search(pattern, output):
            return line
    errors = [line.strip() for line in output.splitlines() if line.lower().lstrip().startswith("error")]
    return "The installation failed: %s" % (errors[-1] if errors else "see the log.")


def fingerprint(files, version, extra=()):
    """Hashes what an environment is built from; `build` builds it again when the hash changes."""
    digest = hashlib.sha256(("%d.%d %s" % (version[0], version[1], " ".join(extra))).encode())
    for name in files:
        with open(os.path.join(ROOT, name), "rb") as file:
            digest.update(file.read())
    return digest.hexdigest()


def run(command, log, title):
    """Runs a command and appends its output to the log; a terminal shows pip's current step and the time so far."""
    started = time.time()
    with open(log, "ab") as file:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd=ROOT)
        output = []
        for raw in process.stdout:
            file.write(raw)
            file.flush()
            line = raw.decode("utf-8", "replace").rstrip()
            output.append(line)
            step = re.match(
                r"\s*(Collecting|Downloading|Building wheel for|Installing collected packages)\s*:?\s*(\S*)", line
            )
            if step and sys.stdout.isatty():
                sys.stdout.write(
                    "\r\033[K  %s: %s %s (%d s)"
                    % (title, step.group(1).lower(), step.group(2)[:50], time.time() - started)
                )
                sys.stdout.flush()
        process.stdout.close()
        status = process.wait()
    if sys.stdout.isatty():
        sys.stdout.write("\r\033[K")
    if status != 0:
        raise InstallError("%s The full log is in %s." % (remedy("\n".join(output[-400:])), log))


def has_nvidia_gpu():
    """Returns whether NVIDIA's driver is there."""
    return any(os.path.exists(path) for path in NVIDIA_FILES)


def is_wrong_torch(folder):
    """Returns whether an environment's torch and torchvision are of two kinds, or without CUDA beside a GPU.

    pip would leave both as they are: `2.15.0+cpu` is a `2.15.0`.
    """
    kinds = {}
    for path in glob(os.path.join(folder, "lib", "python*", "site-packages", "torch*.dist-info")):
        found = re.match(r"(torch|torchvision)-[^+]*?(\+.*)?\.dist-info$", os.path.basename(path))
        if found:
            kinds[found.group(1)] = found.group(2) or ""
    if not kinds:
        return False
    is_pair = len(kinds) == len(TORCH) and len(set(kinds.values())) == 1
    return not is_pair or (has_nvidia_gpu() and "+cpu" in kinds.values())


def remove_wrong_torch(folder, venv_python, log):
    """Removes torch's packages from an environment if they are not what is needed here."""
    if is_wrong_torch(folder):
        command = [venv_python, "-m", "pip", "uninstall", "--disable-pip-version-check", "-y"]
        run(command + list(TORCH), log, "removing torch")


def cpu_index():
    """Returns the index of torch without CUDA; '' with an NVIDIA GPU, or if it does not answer, which is reported.

    The environment's `CPU_INDEX` names another index; empty, torch comes from where all else comes from.
    """
    index = os.environ.get("CPU_INDEX", CPU_INDEX)
    if not index or sys.platform != "linux" or has_nvidia_gpu():
        return ""
    # Imported here, as Python 2 has no such modules.
    from http.client import HTTPException
    from urllib.request import urlopen

    try:
        urlopen(index.rstrip("/") + "/torch/", timeout=INDEX_TIMEOUT_S).close()
    except (OSError, ValueError, HTTPException) as e:
        print_line("torch comes with CUDA, %.1f GB more: %s does not answer (%s)" % (CUDA_BYTES / 1e9, index, e))
        return ""
    return index


def torch_lines(requirements):
    """Returns the lines of requirements that are torch's own packages, without comments."""
    lines = []
    for name in requirements:
        with open(os.path.join(ROOT, name)) as file:
            lines += [line for line in file.read().splitlines() if line.partition("==")[0] in TORCH]
    return lines


def install_torch(pip, requirements, index, log):
    """Installs torch's own packages from `index`; what they need, and what it does not have, comes with all else."""
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
        file.write("\n".join(torch_lines(requirements)) + "\n")
        file.flush()
        try:
            run(pip + ["--no-deps", "--index-url", index, "-r", file.name], log, "torch for the processor")
        except InstallError as e:
            print_line("torch does not come from %s, but from the usual index: %s" % (index, e))


def build(name, requirements, python, version, editable=False):
    """Builds one environment, unless it is up to date."""
    folder = os.path.join(ROOT, name)
    venv_python = os.path.join(folder, "bin", "python")
    # An environment of any supported Python stays. It is created again if its Python is unsupported or gone, or if its
    # creation was interrupted before pip was installed.
    installed = python_version(venv_python) if os.path.isfile(os.path.join(folder, "bin", "pip")) else None
    usable = installed is not None and OLDEST <= installed <= NEWEST
    version = installed if usable else version
    stamp = os.path.join(folder, "drape-built")
    expected = fingerprint(requirements + ["pyproject.toml"] if editable else requirements, version)
    try:
        with open(stamp) as file:
            if usable and file.read().strip() == expected and not is_wrong_torch(folder):
                return
    except OSError:
        pass
    logs = os.path.join(ROOT, os.environ.get("DATA_DIR", "var"), "logs")
    os.makedirs(logs, exist_ok=True)
    log = os.path.join(logs, "install%s.log" % name.replace(".venv", ""))
    free = shutil.disk_usage(ROOT).free
    torch_index = cpu_index() if torch_lines(requirements) else ""
    needed = DISK_BYTES[name] - (CUDA_BYTES if torch_index else 0)
    if not usable and free < needed:
        raise InstallError(
            "%s needs about %.1f GB on the disk of %s, which has %.1f GB free." % (name, needed / 1e9, ROOT, free / 1e9)
        )
    print_line("Building %s with Python %d.%d (takes some minutes, once)" % (name, version[0], version[1]))
    started = time.time()
    if not usable:
        run([python, "-m", "venv", "--clear", folder], log, name)
    pip = [venv_python, "-m", "pip", "install", "--disable-pip-version-check", "--no-input"]
    remove_wrong_torch(folder, venv_python, log)
    if torch_index:
        install_torch(pip, requirements, torch_index, log)
        # It may have stopped between the two.
        remove_wrong_torch(folder, venv_python, log)
    run(pip + [part for file in requirements for part in ("-r", file)], log, name)
    if editable:
        run(pip + ["--no-deps", "--no-build-isolation", "-e", "."], log, name)
    with open(stamp, "w") as file:
        file.write(expected + "\n")
    print_line("Built %s in %d s" % (name, time.time() - started))


def main():
    """Builds what is missing and returns the exit status: 1 after a failure, which it reports in one line."""
    parser = argparse.ArgumentParser(description="Builds the environments that Drape runs in.")
    parser.add_argument("--dev", action="store_true", help="install what the tests need, too")
    parser.add_argument("--no-label-studio", action="store_true", help="build only Drape's own environment")
    options = parser.parse_args()
    try:
        python, version = find_python()
        # Users and tests share `.venv`: once built with the test requirements, it is always built with them.
        dev = options.dev or os.path.isfile(os.path.join(ROOT, ".venv", "drape-dev"))
        requirements = DEV_REQUIREMENTS if dev else ["requirements.txt"]
        build(".venv", requirements, python, version, editable=True)
        if dev:
            open(os.path.join(ROOT, ".venv", "drape-dev"), "w").close()
        if not options.no_label_studio:
            build(".venv-label-studio", ["requirements-label-studio.txt"], python, version)
    except InstallError as e:
        sys.stderr.write("%s\n" % e)
        return 1
    except KeyboardInterrupt:
        sys.stderr.write("Stopped. Run it again to continue.\n")
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
