"""nvitop, a monitor: its API, and its screen once. Run remotely only."""

import os
import subprocess
import sys

from cases import case, main
from cuda.bindings import runtime
from nvitop import Device


def hold(nbytes):
    result, address = runtime.cudaMalloc(nbytes)
    assert int(result) == 0, result
    return address


@case
def devices_and_their_memory():
    [device] = Device.all()
    result, properties = runtime.cudaGetDeviceProperties(0)
    assert int(result) == 0 and device.name() == properties.name.decode()
    assert device.memory_total() == properties.totalGlobalMem
    return device.name(), device.cuda_compute_capability()


@case
def this_process_is_seen():
    hold(64 << 20)
    [device] = Device.all()
    while os.getpid() not in device.processes():  # until gpud is asked again; the runner's limit ends it
        pass
    process = device.processes()[os.getpid()]
    assert process.gpu_memory() >= 64 << 20
    return process.type


@case
def the_screen():
    hold(32 << 20)
    done = subprocess.run([sys.executable, "-m", "nvitop", "--once", "--ascii"], capture_output=True,
                          text=True, env={**os.environ, "COLUMNS": "120", "LINES": "40"})
    assert done.returncode == 0, done.stderr
    assert "Farwarp CPU" in done.stdout and str(os.getpid()) in done.stdout, done.stdout


main()
