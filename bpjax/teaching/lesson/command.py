"""`bpjax lesson`: a page that shows how a small network learns a task, with all its numbers."""

import argparse
import re
import sys

from bpjax.util.files import shown

EPILOG = """tasks: those of bpjax.tasks.task, with their sizes after a hyphen, and encoders by their sizes:

    bpjax lesson xor
    bpjax lesson 4-2-4 --steps 300 --language de
    bpjax lesson parity-3 --hidden 3 --rule "feedback alignment"
    bpjax lesson xor --beside-learning-rate 20          two rates side by side
    bpjax lesson xor --beside-rule "feedback alignment"     two rules side by side

exit status: 0 the page is written, 2 the task or an option cannot be used"""


def add(commands) -> None:
    """Add the command and its options to the subparsers of `bpjax`."""
    parser = commands.add_parser(
        "lesson",
        help="write a page that shows how a small network learns, with all its numbers",
        description="Train a small network on a task and write the training as one HTML page.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("task", help="xor, 4-2-4, parity-3, …")
    parser.add_argument("--output", default="lesson.html", metavar="FILE", help="the page (default: lesson.html)")
    parser.add_argument("--steps", type=int, default=500, metavar="N", help="steps on all examples (default: 500)")
    parser.add_argument("--learning-rate", type=float, default=0.5, metavar="η", help="(default: 0.5)")
    parser.add_argument("--momentum", type=float, default=0.9, metavar="α", help="(default: 0.9)")
    parser.add_argument("--rule", default="backprop", metavar="NAME", help="a learning rule (default: backprop)")
    parser.add_argument("--hidden", type=int, nargs="+", metavar="N", help="hidden units of each layer")
    parser.add_argument("--activation", default="sigmoid", choices=("sigmoid", "tanh", "relu"), help="of hidden units")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the initial weights (default: 0)")
    parser.add_argument("--language", default="en", metavar="CODE", help="en or de (default: en)")
    parser.add_argument("--beside-learning-rate", type=float, metavar="η", help="a second training, at another rate")
    parser.add_argument("--beside-rule", metavar="NAME", help="a second training, by another rule")
    parser.set_defaults(run=run, parser=parser)


def run(options: argparse.Namespace) -> int:
    """Write the page; 0 where it is written, else 2."""
    try:
        path = write_lesson(options)
    except (ValueError, ModuleNotFoundError) as error:
        print(f"bpjax lesson: {error}", file=sys.stderr)
        return 2
    print(f"{shown(path)}: {path.stat().st_size / 1000:.0f} kB. Open it in a browser.")
    return 0


def write_lesson(options: argparse.Namespace):
    """Make the task, the network and the runs that the options ask for, and write the page; returns its path."""
    import jax

    from bpjax.layers.activations import relu, sigmoid, tanh
    from bpjax.layers.initializers import uniform
    from bpjax.losses import softmax_cross_entropy, squared_error
    from bpjax.networks.mlp import mlp
    from bpjax.optimizers.momentum import momentum
    from bpjax.tasks.registry import task
    from bpjax.teaching.lesson.document import LessonRun, lesson

    made = task(_task_name(options.task))
    key = jax.random.key(options.seed)
    x, target = made.present(key)
    if len(made.in_shape) != 1 or len(made.out_shape) != 1:
        raise ValueError(
            f"`lesson` expected a task of vectors, such as xor or 4-2-4, got {made.name} with examples of shape "
            f"{made.in_shape} and outputs {made.out_shape}."
        )
    is_labels = target.shape == x.shape[:1]
    hidden = tuple(options.hidden) if options.hidden else made.hidden or (2,)
    activation = {"sigmoid": sigmoid, "tanh": tanh, "relu": relu}[options.activation]
    network = mlp(
        (*made.in_shape, *hidden, *made.out_shape),
        activation,
        None if is_labels else sigmoid,
        weights=uniform(1.0),
        biases=uniform(1.0),
    )
    loss = softmax_cross_entropy if is_labels else squared_error
    params, _ = network.init(key, made.in_shape)
    rate, other_rate = options.learning_rate, options.beside_learning_rate
    beside = None
    if other_rate is not None or options.beside_rule is not None:
        other = momentum(rate if other_rate is None else other_rate, options.momentum)
        beside = LessonRun(other, _rule(options.beside_rule or options.rule, network, loss), key)
    return lesson(
        network,
        loss,
        params,
        (x, target),
        momentum(rate, options.momentum),
        options.steps,
        options.output,
        rule=_rule(options.rule, network, loss),
        key=key,
        beside=beside,
        title=f"{options.task}: backpropagation",
        language=options.language,
    )


def _task_name(name: str) -> str:
    """The name of a task in the registry: an encoder may be called by its sizes, "4-2-4"."""
    sizes = re.fullmatch(r"(\d+)-(\d+)-\1", name)
    return f"encoder-{sizes[1]}-{sizes[2]}" if sizes else name


def _rule(name: str, network, loss):
    """A rule of the registry by its name, upper case and punctuation aside; None for backpropagation."""
    from bpjax.rules.registry import RULES
    from bpjax.util.files import slug

    if slug(name) == "backprop":
        return None
    names = {slug(known): known for known in RULES}
    if slug(name) not in names:
        raise ValueError(f"`lesson` expected a rule out of {', '.join(RULES)}, got {name!r}.")
    return RULES[names[slug(name)]].make(network, loss)
