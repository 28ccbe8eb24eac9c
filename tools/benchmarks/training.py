"""Worker: gradient descent on batches by PyTorch (vmap of the forward pass over a padded batch, autograd, torch.optim.SGD),
on the tokens of an output file of tangram.
    training.py MODEL OUTPUT.h5 BATCH STEPS     {tokens_per_second}
The forward passes are those of pytorch.py: only the token that is read goes through the head. Examples are sorted by
length, so that batches are hardly padded."""
import json
import sys
import time

import h5py
import torch

from pytorch import FORWARD, Task, vmap


def main():
    torch.set_num_threads(2)
    folder, output, batch, steps = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    task = Task(folder, output)
    with h5py.File(output, 'r') as file:
        targets = 2.0 * torch.from_numpy(file['/data/train/labels'][:][task.order].astype('f4')) - 1
    trained = {name: tensor.requires_grad_(True) for name, tensor in task.selected.items()}
    optimizer = torch.optim.SGD(list(trained.values()), lr=1e-6)
    outputs = vmap(task.margin, in_dims=(None, 0, 0))
    order = torch.randperm(len(task.examples) // batch, generator=torch.Generator().manual_seed(1)).tolist()
    tokens, start = 0, None
    for step in range(-2, steps):  # two that warm up
        if step == 0:
            tokens, start = 0, time.perf_counter()
        first = order[step % len(order)] * batch
        block = task.examples[first : first + batch]
        padded = torch.zeros(batch, max(map(len, block)), dtype=torch.long)
        for row, example in enumerate(block):
            padded[row, : len(example)] = torch.from_numpy(example)
        read = torch.tensor([[len(example) - 1] for example in block])
        optimizer.zero_grad()
        loss = 0.5 * (outputs(trained, padded, read) - targets[first : first + batch]).square().mean()
        loss.backward()
        optimizer.step()
        tokens += sum(map(len, block))
    print(json.dumps({'tokens_per_second': tokens / (time.perf_counter() - start)}))


main()
