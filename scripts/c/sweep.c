/* Many trainings of one small network at a time, written for speed: a measure for `bp.sweep`.
 *
 * Sigmoid units, one hidden layer, E = ½ Σ (o − t)², full batch, Δw = −η ∂E/∂w + α Δw. Each of the WIDTH entries of a
 * vector register belongs to another run. A run ends when every |t − o| < tolerance, or after `epochs` epochs; the next
 * run takes its place. INPUTS, HIDDEN, OUTPUTS, EXAMPLES and WIDTH are defined when this file is compiled.
 *
 * Weights of a run, in this order: W₁ (INPUTS, HIDDEN), b₁ (HIDDEN), W₂ (HIDDEN, OUTPUTS), b₂ (OUTPUTS).
 */
#include <pthread.h>
#include <string.h>

enum { B1 = INPUTS * HIDDEN, W2 = B1 + HIDDEN, B2 = W2 + HIDDEN * OUTPUTS, WEIGHTS = B2 + OUTPUTS, MOST_THREADS = 256 };

typedef float Float __attribute__((vector_size(4 * WIDTH)));
typedef int Int __attribute__((vector_size(4 * WIDTH)));

static inline Float choose(Int where, Float a, Float b) { return (Float)((where & (Int)a) | (~where & (Int)b)); }
static inline Float larger(Float a, Float b) { return choose(a > b, a, b); }
static inline Float absolute(Float a) { return (Float)((Int)a & 0x7fffffff); }

/* 1 / (1 + exp(−a)), relative error about 1e-7: exp(x) = 2ⁿ exp(r) with |r| ≤ ½ ln 2, and the polynomial of Cephes. */
static inline Float sigmoid(Float a) {
    Float limit = (Float){} + 87.0f, x = -a;
    x = choose(x > limit, limit, choose(x < -limit, -limit, x));
    Float shifted = x * 1.44269504f + 12582912.0f; /* 1.5 · 2²³: the sum is rounded to an integer */
    Float n = shifted - 12582912.0f;
    Float r = x - n * 0.693359375f + n * 2.12194440e-4f;
    Float p = r * 1.9875691500e-4f + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * r * r + r + 1.0f;
    Float power = (Float)((Int)p + (((Int)shifted - 0x4b400000) << 23));
    return 1.0f / (1.0f + power);
}

/* The gradient g of one epoch; returns the largest |t − o| of each run. */
static inline Float gradient(const float *restrict x, const float *restrict t, const Float *restrict w, Float *restrict g) {
    Float worst = {}, h[HIDDEN], delta[OUTPUTS];
    for (int q = 0; q < WEIGHTS; q++) g[q] = (Float){};
    for (int n = 0; n < EXAMPLES; n++, x += INPUTS, t += OUTPUTS) {
        for (int j = 0; j < HIDDEN; j++) {
            Float a = w[B1 + j];
            for (int i = 0; i < INPUTS; i++) a += w[i * HIDDEN + j] * x[i];
            h[j] = sigmoid(a);
        }
        for (int k = 0; k < OUTPUTS; k++) {
            Float a = w[B2 + k];
            for (int j = 0; j < HIDDEN; j++) a += w[W2 + j * OUTPUTS + k] * h[j];
            Float o = sigmoid(a), error = o - t[k];
            delta[k] = error * o * (1.0f - o);
            g[B2 + k] += delta[k];
            worst = larger(worst, absolute(error));
        }
        for (int j = 0; j < HIDDEN; j++) {
            Float back = {};
            for (int k = 0; k < OUTPUTS; k++) {
                back += w[W2 + j * OUTPUTS + k] * delta[k];
                g[W2 + j * OUTPUTS + k] += h[j] * delta[k];
            }
            back *= h[j] * (1.0f - h[j]);
            g[B1 + j] += back;
            for (int i = 0; i < INPUTS; i++) g[i * HIDDEN + j] += back * x[i];
        }
    }
    return worst;
}

struct sweep {
    const float *x, *t, *weights, *rates, *momenta;
    int runs, epochs, *used, next;
    float tolerance;
};

static void *train_some(void *argument) {
    struct sweep *s = argument;
    Float w[WEIGHTS] = {}, v[WEIGHTS] = {}, g[WEIGHTS], rate = {}, momentum = {};
    Int epoch = {}, over = ~(Int){}, run = ~(Int){}; /* run −1: none */
    for (int active = 0;;) {
        for (int l = 0; l < WIDTH; l++) {
            if (!over[l]) continue;
            if (run[l] >= 0) s->used[run[l]] = epoch[l], active--;
            int next = __atomic_fetch_add(&s->next, 1, __ATOMIC_RELAXED);
            run[l] = next < s->runs ? next : -1;
            epoch[l] = run[l] < 0 ? -0x7fffffff : 0; /* a place without a run is never over */
            if (run[l] < 0) continue;
            active++;
            rate[l] = s->rates[next], momentum[l] = s->momenta[next];
            for (int q = 0; q < WEIGHTS; q++) w[q][l] = s->weights[(size_t)next * WEIGHTS + q], v[q][l] = 0;
        }
        if (!active) return 0;
        for (int any = 0; !any;) {
            Float worst = gradient(s->x, s->t, w, g);
            epoch += 1;
            over = ((worst < s->tolerance) & (run >= 0)) | (epoch >= s->epochs);
            for (int q = 0; q < WEIGHTS; q++) {
                v[q] = momentum * v[q] - rate * g[q];
                w[q] += v[q];
            }
            for (int l = 0; l < WIDTH; l++) any |= over[l];
        }
    }
}

/* Train every run; used[run] becomes the number of epochs it took. */
int train(const float *x, const float *t, const float *weights, const float *rates, const float *momenta, int runs,
          int epochs, float tolerance, int *used, int threads) {
    struct sweep s = {x, t, weights, rates, momenta, runs, epochs, used, 0, tolerance};
    pthread_t thread[MOST_THREADS];
    if (threads < 1 || threads > MOST_THREADS) return 1;
    for (int k = 0; k < threads; k++)
        if (pthread_create(&thread[k], 0, train_some, &s)) return 2;
    for (int k = 0; k < threads; k++) pthread_join(thread[k], 0);
    return 0;
}
