"""PyTorch: devices, memory, copies, streams, events, graphs, and kernels as far as they can be had as PTX.

Its wheels bring machine code for the GPUs that there are and no PTX, so that on the CPU device its own
kernels end with the documented error. The libraries that it uses have PTX: products of cuBLAS, convolutions and
normalisation of cuDNN are computed.
"""

import concurrent.futures
import warnings

import numpy
import torch
from cases import case, main

warnings.filterwarnings("ignore")  # that nobody built this PyTorch for such a device
DEVICE = torch.device("cuda", 0)


def numbers(count, kind=numpy.float32):
    return (numpy.arange(count) * 2654435761 % 1000 / 500 - 1).astype(kind)


def back(tensor):
    return tensor.cpu().numpy()


def refused(function, kind=RuntimeError, words="no kernel image is available"):
    """The first line of the error that `function` must raise."""
    try:
        function()
    except kind as error:
        assert words in str(error), error
        return str(error).splitlines()[0]
    raise AssertionError(f"{words!r} was not raised.")


@case
def device_properties():
    properties = torch.cuda.get_device_properties(0)
    assert torch.cuda.is_available() and torch.cuda.device_count() == 1
    assert torch.cuda.get_device_capability() == (properties.major, properties.minor)
    free, total = torch.cuda.mem_get_info()
    assert 0 < free <= total == properties.total_memory
    return properties.name, properties.major, properties.multi_processor_count, total, str(properties.uuid)


@case
def copies_of_every_type():
    results = []
    for kind in (numpy.float32, numpy.float64, numpy.int64, numpy.int32, numpy.int16, numpy.uint8, numpy.bool_):
        host = torch.from_numpy(numbers(10_007, kind))
        there = host.to(DEVICE)
        assert there.device == DEVICE and there.dtype == host.dtype
        results.append(back(there))
        assert (results[-1] == host.numpy()).all()
    return results


@case
def large_copy():
    host = torch.from_numpy(numbers(8 << 20))
    assert torch.equal(host.to(DEVICE).cpu(), host)
    return host[:100].numpy()


@case
def copies_on_the_device():
    there = torch.from_numpy(numbers(1000)).to(DEVICE)
    twin = there.clone()
    empty = torch.empty_like(there)
    empty[100:200].copy_(twin[:100])
    return back(twin), back(empty[100:200])


@case
def zeros_come_from_memset():
    there = torch.from_numpy(numbers(1000)).to(DEVICE)
    assert not back(there.zero_()).any()
    return back(there)


@case
def pinned_memory():
    pinned = torch.from_numpy(numbers(100_000)).pin_memory()
    assert pinned.is_pinned()
    there = pinned.to(DEVICE, non_blocking=True)
    result = torch.empty(100_000, pin_memory=True)
    result.copy_(there, non_blocking=True)
    torch.cuda.synchronize()
    assert torch.equal(result, pinned)
    return result.numpy()


@case
def streams_and_events():
    host = torch.from_numpy(numbers(300_000)).pin_memory()
    streams = [torch.cuda.Stream() for _ in range(3)] + [torch.cuda.Stream(priority=-1)]
    results, events = [], []
    for stream in streams:
        with torch.cuda.stream(stream):
            there = host.to(DEVICE, non_blocking=True)
            event = torch.cuda.Event(enable_timing=True)
            event.record()
            events.append(event)
            results.append(there)
    for event in events:
        torch.cuda.current_stream().wait_event(event)
    twin = results[-1].clone()
    for event in events:
        event.synchronize()
        assert event.query()
    assert events[0].elapsed_time(events[0]) == 0
    assert all(stream.query() for stream in streams)
    return [back(result) for result in results], back(twin)


@case
def memory_statistics():
    torch.cuda.empty_cache()
    before = torch.cuda.memory_allocated()
    there = torch.empty(3 << 20, dtype=torch.uint8, device=DEVICE)
    during = torch.cuda.memory_allocated() - before
    reserved = torch.cuda.memory_reserved()
    del there
    after = torch.cuda.memory_allocated() - before
    torch.cuda.empty_cache()
    assert torch.cuda.memory_reserved() < reserved
    snapshot = torch.cuda.memory_stats()
    assert snapshot["num_ooms"] == 0
    return during, after, snapshot["num_alloc_retries"]


@case
def out_of_memory_is_raised_and_recovered_from():
    free = torch.cuda.mem_get_info()[0]
    kept = torch.empty(free // 4, dtype=torch.uint8, device=DEVICE)
    cached = torch.empty(free // 2, dtype=torch.uint8, device=DEVICE)
    try:
        torch.empty(1 << 40, dtype=torch.uint8, device=DEVICE)
        raise AssertionError("There is no such memory.")
    except torch.OutOfMemoryError as error:
        assert "Tried to allocate 1024.00 GiB" in str(error), error
    del cached
    # What is cached has the wrong size: PyTorch must see the failure, free its cache, and try again.
    larger = torch.empty(free // 2 + (32 << 20), dtype=torch.uint8, device=DEVICE)
    del kept, larger
    torch.cuda.empty_cache()
    return torch.cuda.memory_stats()["num_ooms"]


@case
def kernels_of_the_wheel_are_refused():
    there = torch.from_numpy(numbers(1000)).to(DEVICE)
    said = [refused(lambda: there + there), refused(lambda: there.sum()), refused(lambda: torch.sort(there)),
            refused(lambda: torch.rand(10, device=DEVICE))]
    # The refusal leaves nothing behind.
    return said, back(there.clone())


@case
def graph_of_copies():
    source = torch.from_numpy(numbers(4096)).to(DEVICE)
    target = torch.zeros(4096).to(DEVICE)
    side = torch.cuda.Stream()
    with torch.cuda.stream(side):
        target.copy_(source)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        target.copy_(source)
    source.copy_(torch.from_numpy(numbers(4096) + 5))
    graph.replay()
    torch.cuda.synchronize()
    assert torch.equal(target.cpu(), source.cpu())
    return back(target)


@case
def host_to_device_by_threads():
    hosts = [torch.from_numpy(numbers(50_000) + index) for index in range(8)]
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda host: back(host.to(DEVICE).clone()), hosts))
    assert all((result == host.numpy()).all() for result, host in zip(results, hosts))
    return results


@case
def matrix_products_by_cublas():
    left = torch.from_numpy(numbers(64 * 48)).reshape(64, 48).to(DEVICE)
    right = torch.from_numpy(numbers(48 * 32)).reshape(48, 32).to(DEVICE)
    single, double = back(left @ right), back(torch.from_numpy(back(left)).double().to(DEVICE) @
                                              torch.from_numpy(back(right)).double().to(DEVICE))
    numpy.testing.assert_allclose(single, back(left) @ back(right), rtol=1e-4, atol=1e-4)
    numpy.testing.assert_allclose(double, back(left).astype(float) @ back(right).astype(float), rtol=1e-12)
    return single, double


@case
def convolution_by_cudnn():
    image = torch.from_numpy(numbers(2 * 3 * 16 * 16)).reshape(2, 3, 16, 16)
    weights = torch.from_numpy(numbers(4 * 3 * 3 * 3)).reshape(4, 3, 3, 3)
    result = torch.nn.functional.conv2d(image.to(DEVICE), weights.to(DEVICE)).cpu()
    torch.testing.assert_close(result, torch.nn.functional.conv2d(image, weights), rtol=1e-4, atol=1e-4)
    return result.numpy(), torch.backends.cudnn.version()


@case
def normalisation_by_cudnn():
    image = torch.from_numpy(numbers(4 * 3 * 8 * 8)).reshape(4, 3, 8, 8)
    ones, zeros = torch.ones(3), torch.zeros(3)
    result = torch.cudnn_batch_norm(image.to(DEVICE), ones.to(DEVICE), zeros.to(DEVICE), None, None,
                                    True, 0.1, 1e-5)[0].cpu()
    wanted = torch.nn.functional.batch_norm(image, None, None, ones, zeros, True, 0.1, 1e-5)
    torch.testing.assert_close(result, wanted, rtol=1e-4, atol=1e-4)
    return result.numpy()


@case
def what_the_allocator_does_over_time():
    """Blocks of many sizes, freed in another order, as training makes them."""
    torch.cuda.empty_cache()
    blocks, total = {}, 0
    for step in range(400):
        index = step * 7919 % 64
        if index in blocks:
            host, there = blocks.pop(index)
            assert torch.equal(there.cpu(), host)
        else:
            host = torch.from_numpy(numbers(1 + step * 104729 % 40_000))
            blocks[index] = host, host.to(DEVICE)
            total += len(host)
    for host, there in blocks.values():
        assert torch.equal(there.cpu(), host)
    return total, len(blocks)


main()
