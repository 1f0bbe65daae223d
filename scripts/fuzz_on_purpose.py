"""What is accepted on purpose although it looks wrong, and why: rules for kinds of arguments, no single calls.

A rule is (which rooms or callables, which parameters, which wrong values, why), each part a regular expression that
must match whole.
"""

import re

ANY = ".*"
NUMBERS = "number|integer|zero|negative|fraction|float of an integer|1e300|10[*][*]30"
ARRAYS = "array|array [(]2,[)]|list|an entry .*|integer array|another float dtype|another width|a further axis|rank 0"

ANYTHING = (
    "True|complex|key|None|text|object|uncalled factory|class|layer|loss|tuple of texts|rank 7|swapped|nested lists|"
    "(empty|complex|boolean) (text|tuple|list|dict|array)|(NaN|infinity) in an array|array of (texts|objects)"
)

BOUNDED = (
    "truncate|goal|rtol|atol|tolerance|damping|delta|epsilon|offset|scale|factor|momentum|decay|growth|shrink|"
    "increase|decrease|averaging|largest|smallest|initial|learning_rate|rate|radius|steepness|slope|threshold|beta|"
    "deviation|potentiation|depression|tau_plus|tau_minus|dt|output_variance|forget_bias|membrane|synapse|low|high|"
    "levels|target_levels|step|split|mode_switch|backoff"
)
"""Parameters that are numbers with bounds."""

ACCEPTED = (
    ("theory.*", ANY, f"{NUMBERS}|{ARRAYS}|swapped|leaves: (integers|another float dtype)",
     "closed forms take finite numbers and arrays of any dtype and size within their bounds, entry by entry"),
    ("theory.duplicate_unit", "params", "leaves: NaN|leaves: no rows|leaves: double width|swapped",
     "weights that fit each other are rearranged, whatever their values and sizes"),
    ("tape.*|gradcheck.check_gradient", "[*]0|.*, [*]0", f"{NUMBERS}|{ARRAYS}|{ANYTHING}",
     "the arguments of the user's own function: whatever it computes with"),
    ("tape.reverse|gradcheck.check_gradient", "argnums|argnums, .*",
     "negative|zero|None|10[*][*].*|text|tuple of texts|swapped",
     "places of arguments, counted from either end; whether they exist is checked when the arguments are there"),
    ("audit.*|analysis.recording", "steps|at", "zero|integer|an entry missing|an entry too many",
     "any number of steps, none included, or several of them"),
    ("audit.*|tape.count_operations", "rules|rows", "empty .*", "none: an empty table, no further rules"),
    ("gradcheck.*|audit.*|training.*|rules.*|tape.*", "key|seed|tolerance|while_bound|threshold",
     "None|key|number|integer|zero", "optional arguments, and any of their kind will do"),
    ("analysis.alignment|analysis.share_along", ANY, "leaves: (NaN|integers|another float dtype)|swapped",
     "directions of any real dtype; NaN in, NaN out: the function also works under jit and vmap"),
    ("teaching.derivation", "example", "integer|zero|None", "the number of an example, counted from 0"),
    ("analysis.unit_states", "net_input", f"{NUMBERS}|{ARRAYS}|{ANYTHING}",
     "net inputs of any shape; NaN is neither dead nor saturated: the function also works under jit and vmap"),
    ("teaching.lesson", "batch|path|key", "leaves: another float dtype|text|None",
     "a lesson is computed in float64; any text is a path; only some rules need a key"),
    ("losses.cosine_embedding", "margin", "negative", "a cosine, from −1 to 1"),
    ("losses.hinge", "margin", r"10\*\*30", "any positive margin"),
    ("losses.*", "class_weights|positive_weights|output_weights", r"10\*\*30", "any finite weight"),
    ("losses.*", "class_weights|positive_weights|output_weights", "list|array .*",
     "one number for each class or output; how many there are is known when the loss meets an output"),
    ("analysis.preconditioned_curvature", "preconditioner", "leaves: (integers|another float dtype)",
     "positive numbers of any real dtype"),
    ("analysis.adaptive_limit", "b1", "zero", "RMSprop and Adagrad without momentum"),
    ("analysis.preconditioner_of", "state",
     "a (tuple|dict) around|leaves: (a further axis|another float dtype|NaN|no rows)|an entry too many|swapped",
     "it finds the adaptive optimizer anywhere inside a state, with params of any shape"),
    ("analysis.preconditioner_of", "b2|eps", "number|integer", "hyperparameters; the state does not hold them"),
    ("optimizers.*", "learning_rate|momentum|growth|shrink|increase|decrease|averaging|tolerance|smallest|largest|"
     "backoff|decay|mode_switch", "uncalled factory|class",
     "a schedule, which is any function: what it returns is checked at every step"),
    ("optimizers.(rprop|supersab)", "largest", "infinity", "no bound"),
    ("optimizers.hyperparameter", "state", "(?!leaves: texts).*",
     "it looks into any state; None where the state does not hold the hyperparameter"),
    ("optimizers.hyperparameter", "name", "empty text", "a name that no state holds"),
    ("optimizers.(take_step|set_hyperparameters)", "grads|state|params",
     "leaves: (integers|another float dtype|NaN)|None",
     "a gradient that is not finite changes nothing; any real dtype"),
    ("optimizers.set_hyperparameters", "state",
     "a (tuple|dict) around|leaves: (a further axis|no rows|double width|None)",
     "it changes the hyperparameters inside any state, whatever its shapes"),
    ("optimizers.take_step", "value", "True|NumPy boolean|NaN|(minus )?infinity|negative|zero|1e300",
     "an error that is not finite makes an optimizer undo its step"),
    ("interop.save", "params", "None|empty .*|array|a (tuple|dict) around|leaves: .*|an entry .*|swapped",
     "any pytree of arrays, an empty one included"),
    ("interop.save", "path", "text", "a name of a file"),
    ("interop.save", "metadata", "None|empty dict", "no metadata"),
    ("interop.load", "like", "None|leaves: NaN", "optional; only shapes and dtypes count"),
    ("interop.export_network", "in_shape|batch_size", "integer", "a shape of one axis; a size of the batch"),
    ("interop.export_network|interop.to_.*", "params", "leaves: (another float dtype|NaN)",
     "weights of any floating-point dtype"),
    ("interop.from_equinox", "state", "empty .*|number|integer|complex|True|array|key",
     "the state of a module, whatever pytree of arrays it is; calling the module shows whether it fits"),
    ("interop.(from|to)_nnx", "wrt", "True", "a filter of Flax: everything"),
    ("results.holm", "p_values", "empty (tuple|list)|an entry (missing|too many)",
     "any number of tests, none included"),
    ("results.(kaplan_meier|log_rank|time_contrast)", "durations|other_durations|first|second",
     "an entry (fraction|infinity|10[*][*]30)", "times > 0, infinite ones where a run failed"),
    ("results.restricted_mean", "horizon", "10[*][*]30", "any time, if the curve has reached 0"),
    ("results.find_plateaus", "error", "array|a further axis|rank 7|another width|integer array|another float dtype",
     "error curves of any length and number, of any real dtype"),
    ("results.find_plateaus", "low|high|window|least_length|goal", "number|10[*][*]30|1e300",
     "thresholds and shares within the bounds that the docstring names"),
    ("layers[.](glorot|he|lecun)_.*|layers.zeros", ANY, ANY, "JAX's own initializers, re-exported as they are"),
    ("layers.(average_pool|batch_norm)", "divisor|axis_name", "number|integer|text|10[*][*]30",
     "a positive integer in place of the count; the name of an axis of a mesh"),
    ("layers.(hardtanh|local_response_norm|pad|prelu|threshold|lp_pool|layer_norm|rms_norm|upsample|lora|merge_lora|"
     "mixture_of_experts)", "low|high|alpha|beta|k|value|slope|threshold|power|axes|factor|top",
     "negative|zero|number|integer|10[*][*]30|None|list",
     "any numbers within the bounds that the docstring names; None where it is the default; a factor for each axis"),
    ("layers.merge_lora", "params", "leaves: (NaN|another float dtype)", "weights, whatever their values"),
    ("layers.gated", "name", "text", "the name in reports"),
    ("layers.edges_from_mask", "mask", "another width", "a mask of any size"),
    ("layers.unstack", "params", "empty .*|infinity in an array|NaN in an array", "any numbers, and trees without any"),
    ("layers.running_statistics", "residuals", "a (tuple|dict) around", "the statistics are found anywhere in them"),
    ("rules.*", "in_shape", "integer|empty (tuple|list)", "a shape of one axis; () for a sequence of tokens"),
    ("rules.predictive_coding", "steps", "None", "the number of steps that the docstring names"),
    ("training.*", "stops", "None|empty (tuple|list)", "no further reasons to stop"),
    ("training.no_improvement", "least", "zero|10[*][*]30|1e300|number|integer", "any improvement ≥ 0"),
    ("training.trial", "outcome|watch", "uncalled factory|class|None", "called while the trial is traced"),
    ("training.predict", "x", "array|a further axis|(NaN|infinity) in an array",
     "any number of examples; the output is what the network makes of them"),
    ("sweeps.sweep|sweeps.sweep_over", "config", "(?!swapped).*", "a note: recorded as data, or as its text"),
    ("sweeps.*", "store|stores", "text", "the name of a folder"),
    ("sweeps.*", "receipt", "text|None", "a text"),
    ("sweeps.*", "progress", "None|uncalled factory|loss", "None is False; any function is called with a Progress"),
    ("sweeps.lanes", "f|in_axes|out_axes", "uncalled factory|class|layer|None|negative|zero|integer",
     "any function; axes are counted from either end, None for an argument that all runs share"),
    ("sweeps.compare_.*|sweeps.sweep_over", "rates|seeds|key", "an entry (missing|too many|fraction|10.*)|integer",
     "any number of rates and seeds, of any size above 0"),
    ("sweeps.(draws|log_draws)", "low|high|samples", "number|integer|zero|negative|10[*][*]30|1e300|fraction",
     "any bounds, the lower one first"),
    ("(layers|rules|training|sweeps)[.].*", BOUNDED,
     "number|integer|zero|fraction|float of an integer|1e300|10[*][*]30|array|swapped",
     "numbers ≥ 0 within the bounds that the docstring names, 0 and large ones too"),
    ("rules.*|layers.(lstm|scaled_sigmoid|uniform)", "scale|forget_bias|low|high", "negative",
     "numbers of either sign: random feedback, a bias, the range of an output"),
    ("layers.*|rules.*|training.*", "levels|target_levels", "an entry (negative|fraction)", "outputs of either sign"),
    ("(?!(layers|rules|training|sweeps)[.]).*", BOUNDED,
     f"{NUMBERS}|None|an entry negative|array|swapped",
     "numbers within the bounds that the docstring names: 0, negative or large; None where it is the default"),
    ("networks.*|layers.*|tasks.*", "sizes|hidden|maps|channels|image|shape|state_shape|padding|cells|output|"
     "norm|stride|head_features|block|backward_cell|truncate|snapshots|target_levels|groups|in_shape",
     "an entry (missing|too many|negative)|empty (tuple|list)|None|layer|integer|zero",
     "networks of any depth; None where the docstring offers it; -1 for the axis that is left over"),
    (ANY, "weights|biases|recurrent|noise|make|function|phi|derivative|params|f|start|change|init|apply|noise",
     "uncalled factory|class", "any function: what it returns is checked when it is called"),
    ("util.cast|optimizers.fan_in", "tree|params", "(?!.*text)(?!object|class|uncalled|layer|loss).*",
     "a pytree of any structure, empty ones included, and of arrays of any kind"),
    ("util.cache_compilations", "folder|at_least", "None|text|number|zero|10[*][*]30|integer",
     "any name of a folder; None is the default one; any duration"),
)  # fmt: skip
"""(callable, parameter, label, reason) of what returns."""

RAISED = (
    ("tape.*|gradcheck.check_gradient", "[*]0|.*, [*]0", ANY, "(?!AttributeError|IndexError|KeyError).*",
     "JAX names the operation of the user's function that cannot take the argument"),
    ("layers[.](glorot|he|lecun)_.*|layers.zeros", ANY, ANY, ANY, "JAX's own initializers, re-exported as they are"),
    ("interop.(from|to)_nir", ANY, ANY, "ModuleNotFoundError.*", "the package nir is not installed"),
    ("util.compile_small_loops", "threshold", ANY, "RuntimeError.*", "JAX has started already"),
)  # fmt: skip
"""(callable, parameter, label, text of the error, reason) of errors that come from elsewhere and are right."""


def may_accept(call, parameter: str, label: str, value) -> str | None:
    """The reason why a call with this value returns, or None."""
    for callables, parameters, labels, reason in ACCEPTED:
        found = zip((callables, parameters, labels), (call.name, parameter, label), strict=True)
        if all(re.fullmatch(pattern, text) for pattern, text in found):
            return reason
    return None


def may_raise(call, parameter: str, label: str, error: Exception) -> str | None:
    """The reason why an error of another library or of Python is the right one, or None."""
    for callables, parameters, labels, texts, reason in RAISED:
        about = (call.name, parameter, label, f"{type(error).__name__}: {error}")
        if all(
            re.fullmatch(p, t, re.DOTALL) for p, t in zip((callables, parameters, labels, texts), about, strict=True)
        ):
            return reason
    return None
