"""pynvml, the Python binding of the management library, beside programs that use the device.

Run remotely only: the library describes what gpud serves.
"""

import os
import subprocess
import sys

import pynvml
from cases import case, main
from cuda.bindings import runtime


def ok(answer):
    result, *rest = answer
    if int(result) != 0:
        raise RuntimeError(f"{type(result).__name__}.{result.name}")
    return rest[0] if rest else None


pynvml.nvmlInit()
device = pynvml.nvmlDeviceGetHandleByIndex(0)


@case
def the_system():
    assert pynvml.nvmlSystemGetCudaDriverVersion() == ok(runtime.cudaDriverGetVersion())
    assert pynvml.nvmlSystemGetDriverVersion() and pynvml.nvmlSystemGetNVMLVersion()
    return pynvml.nvmlDeviceGetCount()


@case
def the_device_is_the_one_that_cuda_sees():
    properties = ok(runtime.cudaGetDeviceProperties(0))
    assert pynvml.nvmlDeviceGetName(device) == properties.name.decode()
    assert pynvml.nvmlDeviceGetUUID(device).removeprefix("GPU-").replace("-", "") == bytes(
        properties.uuid.bytes).hex()
    assert pynvml.nvmlDeviceGetCudaComputeCapability(device) == (properties.major, properties.minor)
    pci = pynvml.nvmlDeviceGetPciInfo(device)
    bus_id = ok(runtime.cudaDeviceGetPCIBusId(32, 0)).split(b"\0")[0].decode()
    assert pci.busIdLegacy.lower() == bus_id.lower() and pci.bus == properties.pciBusID
    found = [pynvml.nvmlDeviceGetHandleByUUID(pynvml.nvmlDeviceGetUUID(device)),
             pynvml.nvmlDeviceGetHandleByPciBusId(pci.busId)]
    assert [pynvml.nvmlDeviceGetIndex(handle) for handle in found] == [0, 0]
    return bus_id


@case
def memory_and_processes():
    memory = pynvml.nvmlDeviceGetMemoryInfo(device)
    assert memory.total == ok(runtime.cudaGetDeviceProperties(0)).totalGlobalMem
    before = memory.used
    held = ok(runtime.cudaMalloc(96 << 20))
    wait_for(lambda: pynvml.nvmlDeviceGetMemoryInfo(device).used == before + (96 << 20))
    newer = pynvml.nvmlDeviceGetMemoryInfo(device, version=pynvml.nvmlMemory_v2)
    assert newer.used + newer.free == newer.total and newer.used == before + (96 << 20)
    mine = [process for process in pynvml.nvmlDeviceGetComputeRunningProcesses(device)
            if process.pid == os.getpid()]
    assert len(mine) == 1 and mine[0].usedGpuMemory >= 96 << 20
    assert pynvml.nvmlSystemGetProcessName(os.getpid()).startswith("python")
    ok(runtime.cudaFree(held))
    wait_for(lambda: pynvml.nvmlDeviceGetMemoryInfo(device).used == before)


def wait_for(condition):
    """The library asks gpud again after some milliseconds; a change that never comes ends in the
    runner's time limit."""
    while not condition():
        pass


@case
def busy_time():
    rates = pynvml.nvmlDeviceGetUtilizationRates(device)
    assert 0 <= rates.gpu <= 100


@case
def what_only_hardware_knows():
    for question in (lambda: pynvml.nvmlDeviceGetTemperature(device, pynvml.NVML_TEMPERATURE_GPU),
                     lambda: pynvml.nvmlDeviceGetPowerUsage(device),
                     lambda: pynvml.nvmlDeviceGetFanSpeed(device)):
        try:
            question()
        except pynvml.NVMLError_NotSupported:
            continue
        raise AssertionError("It was answered.")


@case
def a_forked_child_may_ask_and_use_cuda():
    """PyTorch counts devices by the library, so that a child of fork can still initialise CUDA."""
    code = """
import os, pynvml
from cuda.bindings import runtime
pynvml.nvmlInit()
count = pynvml.nvmlDeviceGetCount()
child = os.fork()
if child == 0:
    again = pynvml.nvmlDeviceGetCount()
    result, address = runtime.cudaMalloc(64)
    os._exit(0 if again == count and int(result) == 0 else 1)
raise SystemExit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


@case
def shutting_down():
    pynvml.nvmlShutdown()
    try:
        pynvml.nvmlDeviceGetCount()
    except pynvml.NVMLError_Uninitialized:
        return
    raise AssertionError("It answered after its end.")


main()
