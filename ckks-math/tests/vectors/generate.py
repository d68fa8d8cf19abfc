"""Writes the known answers of tests/kat.rs: definitions in Python's integers, nothing shared with the crate.

python3 generate.py > transforms.txt
"""


def is_prime(n):
    return n > 1 and all(pow(a, n - 1, n) == 1 for a in (2, 3, 5, 7, 11, 13, 17, 19, 23)) and all(
        n % p for p in range(2, 1000) if p < n
    )


def prime(bits, n, largest):
    candidates = range((1 << bits) - (1 << bits) % (2 * n) + 1, 0, -2 * n) if largest else range(
        (1 << (bits - 1)) // (2 * n) * 2 * n + 1, 1 << bits, 2 * n
    )
    return next(q for q in candidates if q < 1 << bits and q > 1 << (bits - 1) and is_prime(q))


def root(q, n):
    return next(r for g in range(2, q) for r in [pow(g, (q - 1) // (2 * n), q)] if pow(r, n, q) == q - 1)


def reverse(j, bits):
    return int(format(j, f"0{bits}b")[::-1], 2) if bits else 0


print("# degree modulus root | coefficients | values at root^(2 brv(j) + 1)")
for log_n in (1, 3, 4, 6, 7):
    n = 1 << log_n
    for bits, largest in ((30, True), (30, False), (48, True), (49, False), (50, True), (60, True)):
        q = prime(bits, n, largest)
        psi = root(q, n)
        a = [pow(5, 3 * j + 1, q) * (q - 1 - j) % q for j in range(n)]
        a[0] = q - 1
        points = [pow(psi, 2 * reverse(j, log_n) + 1, q) for j in range(n)]
        values = [sum(c * pow(x, k, q) for k, c in enumerate(a)) % q for x in points]
        print(n, q, psi, "|", *a, "|", *values)
