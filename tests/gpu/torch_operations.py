"""Operations of PyTorch with fixed inputs, as JSON: a digest of each result, or the error it raised.

scripts/gpu-check runs this with the local driver and through gpud and compares. The same kernels on the
same GPU give the same bits, so the digests must be equal; what is not deterministic by design is left out.
"""

import hashlib
import io
import json

import torch
from torch import nn


def digest(value):
    if isinstance(value, (list, tuple)):
        return [digest(one) for one in value]
    if isinstance(value, torch.Tensor):
        data = value.detach().cpu().contiguous()
        return hashlib.sha256(data.view(torch.uint8).numpy().tobytes() if data.dim() else
                              str(data.item()).encode()).hexdigest()[:16]
    return str(value)


def tensor(*shape, dtype=torch.float32):
    count = 1
    for size in shape:
        count *= size
    return (torch.arange(count, dtype=torch.int64) * 2654435761 % 1000 / 500 - 1).reshape(shape).to("cuda", dtype)


def training():
    torch.manual_seed(1)
    model = nn.Sequential(nn.Linear(64, 128), nn.GELU(), nn.LayerNorm(128), nn.Linear(128, 10)).cuda()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    losses = []
    for _ in range(5):
        loss = nn.functional.cross_entropy(model(tensor(32, 64)), torch.arange(32, device="cuda") % 10)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.detach().cpu())
    return torch.stack(losses)


def saved_and_loaded():
    file = io.BytesIO()
    torch.save(tensor(100), file)
    file.seek(0)
    return torch.load(file)


def out_of_memory():
    try:
        torch.empty(1 << 50, device="cuda", dtype=torch.uint8)
    except torch.OutOfMemoryError:
        return "torch.OutOfMemoryError"
    return "no error"


def streams():
    side = torch.cuda.Stream()
    with torch.cuda.stream(side):
        squared = tensor(1000) ** 2
    torch.cuda.current_stream().wait_stream(side)
    return squared + 1


def pinned():
    return torch.arange(1000.0).pin_memory().to("cuda", non_blocking=True) * 2


def graph():
    source, out = tensor(256), None
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        source * 2 + 1
    torch.cuda.current_stream().wait_stream(side)
    recorded = torch.cuda.CUDAGraph()
    with torch.cuda.graph(recorded):
        out = source * 2 + 1
    source.fill_(3)
    recorded.replay()
    return out


def amp():
    with torch.autocast("cuda", dtype=torch.bfloat16):
        return tensor(64, 64) @ tensor(64, 64)


OPERATIONS = {
    "add": lambda: tensor(1000) + tensor(1000),
    "exp": lambda: torch.exp(tensor(1000)),
    "sum": lambda: tensor(100, 100).sum(1),
    "matmul f32": lambda: tensor(128, 64) @ tensor(64, 96),
    "matmul f16": lambda: tensor(128, 64, dtype=torch.float16) @ tensor(64, 96, dtype=torch.float16),
    "batched matmul": lambda: torch.bmm(tensor(4, 32, 16), tensor(4, 16, 24)),
    "convolution": lambda: nn.functional.conv2d(tensor(2, 3, 32, 32), tensor(8, 3, 3, 3), padding=1),
    "softmax": lambda: torch.softmax(tensor(64, 100), 1),
    "layer norm": lambda: nn.functional.layer_norm(tensor(64, 128), (128,)),
    "attention": lambda: nn.functional.scaled_dot_product_attention(
        *(tensor(2, 4, 32, 16, dtype=torch.float16) for _ in range(3))),
    "sort": lambda: torch.sort(tensor(10000)).values,
    "topk": lambda: torch.topk(tensor(1000), 10).values,
    "cumsum": lambda: torch.cumsum(tensor(1000), 0),
    "index": lambda: tensor(100, 10)[torch.arange(0, 100, 7, device="cuda")],
    "where": lambda: torch.where(tensor(100) > 0, 1.0, -1.0),
    "fft": lambda: torch.fft.rfft(tensor(256)).real,
    "random": lambda: torch.rand(100, generator=torch.Generator("cuda").manual_seed(7), device="cuda"),
    "solve": lambda: torch.linalg.solve(tensor(16, 16) + 4 * torch.eye(16, device="cuda"), tensor(16)),
    "embedding": lambda: nn.functional.embedding(torch.arange(20, device="cuda"), tensor(50, 8)),
    "copy to the host": lambda: tensor(1 << 20).cpu(),
    "pinned copy": pinned,
    "streams": streams,
    "graph": graph,
    "autocast": amp,
    "training": training,
    "save and load": saved_and_loaded,
    "out of memory": out_of_memory,
    "device name": lambda: torch.cuda.get_device_name(),
    "capability": lambda: torch.cuda.get_device_capability(),
}


def main():
    results = {}
    for name, operation in OPERATIONS.items():
        try:
            results[name] = digest(operation())
        except Exception as error:  # what fails is compared, too
            results[name] = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
    print(json.dumps({"version": torch.__version__, "results": results}))


main()
