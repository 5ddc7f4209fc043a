from ._primitives import reference


def streamfunction(grid, omega, *, backend="auto"):
    return reference.poisson(grid, omega)


def laplacian(grid, a, *, backend="auto"):
    return reference.laplacian(grid, a)


def jacobian(grid, a, b, scheme="arakawa", *, backend="auto"):
    return reference.jacobian(grid, a, b, scheme)
