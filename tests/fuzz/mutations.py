"""Ways to change a model's folder, or a record, as somebody might who sends it."""

import copy
import json
from typing import Any

import torch
from safetensors.torch import load_file, save_file

STRANGE = [
    *(None, True, False, -1, 0, 1, 2, 3, 7, 2**31, 2**63, 10**30, 0.5, -0.0, 1e308, 1e-320),
    *("", "x", "none", "../../x", "error", "mask", "interpolate", "datetime", "number", "\ud800"),
    *([], [[]], [""], ["x"], ["x", "x"], [0], [1, 2], [["a", "b"]], {}, {"x": "y"}),
]


def places(tree: Any, path: tuple = ()) -> list[tuple]:
    """Every place in nested dictionaries and lists, as a path of keys."""
    inner = tree.items() if isinstance(tree, dict) else enumerate(tree)
    found = []
    for key, value in inner:
        found.append((*path, key))
        if isinstance(value, dict | list):
            # of a long list (a vocabulary, a curve) the ends are enough
            keep = value if isinstance(value, dict) or len(value) < 8 else value[:4]
            found += places(keep, (*path, key))
    return found


def harmed(tree: Any, rng: Any) -> tuple[Any, str]:
    """A copy with one to three places changed, and what was done."""
    tree = copy.deepcopy(tree)
    done = []
    for _ in range(rng.choice([1, 1, 1, 2, 3])):
        all_places = places(tree)
        if not all_places:
            break
        path = rng.choice(all_places)
        parent = _at(tree, path[:-1])
        old = parent[path[-1]]
        how = rng.choice(["strange", "strange", "drop", "double", "other", "near", "add"])
        if how == "drop":
            del parent[path[-1]]
        elif how == "double" and isinstance(parent, list):
            parent.append(copy.deepcopy(old))
        elif how == "other":  # what stands somewhere else
            parent[path[-1]] = copy.deepcopy(_at(tree, rng.choice(all_places)))
        elif how == "near":
            parent[path[-1]] = _near(old, rng)
        elif how == "add" and isinstance(parent, dict):
            parent[f"{path[-1]} too"] = old
        else:
            parent[path[-1]] = copy.deepcopy(rng.choice(STRANGE))
        done.append(f"{'.'.join(map(str, path))}: {how}")
    return tree, "; ".join(done)


def harm_model(folder: Any, rng: Any) -> str:
    """Change one file of a model; what was done."""
    config, tensors = folder / "config.json", folder / "model.safetensors"
    how = rng.choice(["config"] * 6 + ["tensor"] * 2 + ["bytes", "cut", "swap"])
    if how == "config":
        tree, told = harmed(json.loads(config.read_text()), rng)
        config.write_text(json.dumps(tree))
        return told
    if how == "tensor":
        found = load_file(tensors)
        if not found:
            return "nothing"
        name = rng.choice(sorted(found))
        new, told = _harmed_tensor(found[name], rng)
        found[rng.choice([name, name, f"{name}x"])] = new
        save_file(found, tensors)
        return f"{name}: {told}"
    path = rng.choice([config, tensors])
    raw = bytearray(path.read_bytes())
    if how == "bytes":
        for _ in range(rng.randint(1, 4)):
            raw[rng.randrange(len(raw))] = rng.randrange(256)
    elif how == "cut":
        del raw[rng.randrange(len(raw)) :]
    else:
        config.write_bytes(tensors.read_bytes())
        return "tensors where the configuration belongs"
    path.write_bytes(raw)
    return f"{path.name}: {how}"


def _harmed_tensor(tensor: torch.Tensor, rng: Any) -> tuple[torch.Tensor, str]:
    changes = {
        "flat": lambda: tensor.reshape(-1),
        "wider": lambda: torch.cat([tensor, tensor]) if tensor.dim() else tensor.reshape(1),
        "half": tensor.half,
        "double": tensor.double,
        "int": tensor.long,
        "NaN": lambda: torch.full_like(tensor, torch.nan),
        "huge": lambda: torch.full_like(tensor, 3e38),
        "zeros": lambda: torch.zeros_like(tensor),
        "negative": lambda: -tensor - 1,
    }
    told = rng.choice(sorted(changes))
    return changes[told]().contiguous().clone(), told


def _near(old: Any, rng: Any) -> Any:
    if isinstance(old, bool):
        return not old
    if isinstance(old, int | float):
        return rng.choice([old + 1, old - 1, -old, old * 2, old * 10**6])
    if isinstance(old, str):
        return rng.choice([old + "x", old[:-1], old.upper(), old + "\n"])
    if isinstance(old, list):
        return rng.choice([old[:-1], old[::-1], old + old])
    return None if old is not None else "x"


def _at(tree: Any, path: tuple) -> Any:
    for key in path:
        tree = tree[key]
    return tree
