"""Trainings in processes of their own that can be killed, without importing torch once for each.

Run as a script it is a process that has the imports, never computes, and forks on request: jobs come as JSON lines,
exit codes go back. `Forks` is the other end, for the tests.
"""

import json
import os
import pickle
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

GRACE = 3.0


class Forks:
    """Asks the forking process for trainings. Use as a context manager."""

    def __enter__(self):
        root = Path(__file__).parents[2]
        self.process = subprocess.Popen(
            [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=root,
            env=os.environ | {"PYTHONPATH": str(root)},
        )  # fmt: skip
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()

    def train(self, run, *, world=1, workers=0, micro=None, die=None, every_step=True):
        """Train `run` in `world` processes; return their exit codes and what they said on stderr.

        `die` is (where, step, rank), see `doom`; `every_step` writes a checkpoint after each step.
        """
        return self.job(
            Path(run.folder), run, world=world, workers=workers, micro=micro, die=die, every_step=every_step
        )

    def call(self, folder, do, *words, world):
        """Call `do(*words, rank=, world=)` in `world` processes; files go to `folder`. Returns as `train` does."""
        return self.job(folder, (do, *words), world=world)

    def job(self, folder, run, *, world, workers=0, micro=None, die=None, every_step=False):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "run.pickle").write_bytes(pickle.dumps(run))
        job = {"run": str(folder / "run.pickle"), "said": str(folder / "said.txt"), "world": world}
        job |= {"workers": workers, "micro": micro, "die": die, "every_step": every_step}
        self.process.stdin.write(json.dumps(job) + "\n")
        self.process.stdin.flush()
        codes = json.loads(self.process.stdout.readline())
        return codes, (folder / "said.txt").read_text()


def doom(where, step):
    """Arrange that this process gets SIGKILL at a place, SIGTERM at `told`.

    `step`: in the middle of that step, gradients computed and weights not yet changed; `tensors`, `outline`: while the
    state after that step is written; `results`: when the weights are there and the record is not.
    """
    import safetensors.torch

    from bench.record import Record
    from bench.train import checkpoint, guard

    def kill(number=signal.SIGKILL):
        os.kill(os.getpid(), number)

    note, save, save_file = guard.FiniteGuard.note, checkpoint.Checkpoints.save, safetensors.torch.save_file
    saving = []

    def noted(self, now, **quantities):
        note(self, now, **quantities)
        if now == step and "loss" in quantities:
            kill(signal.SIGTERM if where == "told" else signal.SIGKILL)

    def saved(self, now, state):
        saving.append(now)
        save(self, now, state)

    def half_written(tensors, path):
        save_file(tensors, path)
        if saving and saving[-1] == step:
            whole = Path(path).read_bytes()
            Path(path).write_bytes(whole[: len(whole) // 2])
            kill()

    write_json = checkpoint.write_json

    def outlined(path, value):
        if saving and saving[-1] == step:
            kill()
        write_json(path, value)

    if where in ("step", "told"):
        guard.FiniteGuard.note = noted
    else:
        checkpoint.Checkpoints.save = saved
    if where == "tensors":
        safetensors.torch.save_file = half_written
    elif where == "outline":
        checkpoint.write_json = outlined
    elif where == "results":
        Record.write = lambda self, path: kill()


def train(job, rank, port):
    import torch

    from bench.errors import BenchError
    from bench.train import draws, finetune, pretrain
    from bench.train.distributed import process_group

    torch.set_num_threads(1)
    # So few that a training of some steps draws several times, and another number of times where it goes on.
    draws.AHEAD = 3
    with open(job["run"], "rb") as stream:
        run = pickle.load(stream)
    kind = type(run).__name__
    story = pretrain if kind == "PretrainRun" else finetune
    if job["world"] > 1:
        os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
        os.environ |= {"RANK": str(rank), "WORLD_SIZE": str(job["world"])}
    if job["every_step"]:
        story.CHECKPOINT_SECONDS = story.PAUSE = 0.0
    if job["die"] and job["die"][2] in (rank, "all"):
        doom(*job["die"][:2])
    try:
        if kind == "PretrainRun":
            pretrain.pretrain(run, device="cpu", workers=job["workers"], micro=job["micro"])
        elif kind == "FinetuneRun":
            finetune.finetune(run, device="cpu", workers=job["workers"])
        else:
            # A function of (rank, world), and its arguments: run within the group of processes.
            do, *words = run
            with process_group(torch.device("cpu")) as ranks:
                do(*words, rank=ranks.rank, world=ranks.world)
    except BenchError as error:
        # One write: two processes that fail at once would otherwise share a line.
        os.write(2, f"{error}\n".encode())
        return error.exit_code
    return 0


def fork(job):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    Path(job["said"]).write_text("")
    children = []
    for rank in range(job["world"]):
        child = os.fork()
        if child == 0:
            said = os.open(job["said"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            # The standard output is the way back to the tests: what is printed goes to the same file.
            os.dup2(said, 1)
            os.dup2(said, 2)
            code = 1
            try:
                code = train(job, rank, port)
            except BaseException:
                sys.excepthook(*sys.exc_info())
            finally:
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(code)
        children.append(child)
    codes, deadline = {}, None
    while len(codes) < len(children):
        for child in children:
            if child not in codes:
                found, status = os.waitpid(child, os.WNOHANG)
                if found:
                    codes[child] = os.waitstatus_to_exitcode(status)
        if any(codes.values()):
            deadline = deadline or time.monotonic() + GRACE
            if time.monotonic() > deadline:
                for child in set(children) - set(codes):
                    os.kill(child, signal.SIGKILL)
        time.sleep(0.01)
    return [codes[child] for child in children]


if __name__ == "__main__":
    import timm.models.convnext
    import timm.models.swin_transformer
    import timm.utils.model_ema  # noqa: F401

    import bench.evaluate.cells
    import bench.train.finetune
    import bench.train.pretrain  # noqa: F401

    for line in sys.stdin:
        print(json.dumps(fork(json.loads(line))), flush=True)
