"""Operations on each entry: the local derivative ∂z/∂x beside the operation."""

from jax import lax

from bpjax.tape.derivatives.registry import elementwise, zero_derivative


@elementwise("add", "add_any")
def add(x, y, z):
    """z = x + y      ∂z/∂x = 1      ∂z/∂y = 1."""
    return 1, 1


@elementwise("sub")
def sub(x, y, z):
    """z = x − y      ∂z/∂x = 1      ∂z/∂y = −1."""
    return 1, -1


@elementwise("mul")
def mul(x, y, z):
    """z = x y      ∂z/∂x = y      ∂z/∂y = x."""
    return y, x


@elementwise("div")
def div(x, y, z):
    """z = x / y      ∂z/∂x = 1 / y      ∂z/∂y = −z / y."""
    return lambda: 1 / y, lambda: -z / y


@elementwise("neg")
def neg(x, y):
    """y = −x      dy/dx = −1."""
    return -1


@elementwise("tanh")
def tanh(x, y):
    """y = tanh x      dy/dx = 1 − y²."""
    return lambda: 1 - y * y


@elementwise("exp")
def exp(x, y):
    """y = eˣ      dy/dx = y."""
    return y


@elementwise("sin")
def sin(x, y):
    """y = sin x      dy/dx = cos x."""
    return lambda: lax.cos(x)


@elementwise("cos")
def cos(x, y):
    """y = cos x      dy/dx = −sin x."""
    return lambda: -lax.sin(x)


zero_derivative("stop_gradient", "floor", "ceil", "round", "sign")
