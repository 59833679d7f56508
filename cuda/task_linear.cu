// task_linear: rows of linear tasks, each a pure function of (seed, task, step, element): w ~ N(0, s^2 I) with a bias,
//   x ~ N(0, C), y = w.[1, x] + noise * N(0, 1).
//
//   task_linear_settings: dims [T]  noises [T]  spreads [T] (s)  variances [T,D] of the axes of C
//   task_linear_draw: weights [T,1+D], bias first  axes [T,D,D] scratch  factor [T,D,D], the root of C transposed
//     Where C is the identity for every task, variances, axes and factor are null.
//   task_linear_rows: x [T,B,D]  y [T,B]  signal [T,B] or null, of steps [T], or of query rows where steps is null
//   tasks T  rows B  columns D; beyond a task's own columns x is zero
//
// Launch: any 1-D grid (threads stride over the T*D variances, blocks over the T tasks and over T * ceil(B/tile) tiles
//   of rows), 1-D blocks of at most 128 threads, shared memory 8 * D bytes to draw and, for rows,
//   4 * tile * ((D|1) * (2 with a factor, else 1) + 1) bytes.
// Reference: amortix.ops.task_linear, `definition`, which is the Rust sampler: Philox4x32-10 (Salmon et al., SC 2011),
//   Box-Muller on polynomials of fixed order, no product and sum fused. Integers and normals are equal to the last bit.
//   Settings drawn log-uniformly go through `pow` in double precision, whose last bit may differ between libraries.

#define ROUND 12582912.0f    // 1.5 * 2^23: adding and subtracting it rounds to the nearest whole number
#define DRAWS 0x64726177u    // marks the counters of a key's own draws
#define LANES 8              // counters whose draws are laid out side by side
#define TASK 1               // what a key is for
#define CONTEXT 2
#define QUERY 3
#define INPUTS 4
#define TARGETS 5

typedef unsigned long long Key;

__device__ float plus(float a, float b) { return __fadd_rn(a, b); }
__device__ float minus(float a, float b) { return __fsub_rn(a, b); }
__device__ float times(float a, float b) { return __fmul_rn(a, b); }
__device__ double plus(double a, double b) { return __dadd_rn(a, b); }
__device__ double minus(double a, double b) { return __dsub_rn(a, b); }
__device__ double times(double a, double b) { return __dmul_rn(a, b); }

struct Words {
    unsigned at[4];
};

__device__ Words philox(Key low, Key high, Key key) {
    unsigned c0 = (unsigned)low, c1 = (unsigned)(low >> 32), c2 = (unsigned)high, c3 = (unsigned)(high >> 32);
    unsigned k0 = (unsigned)key, k1 = (unsigned)(key >> 32);
    for (int round = 0; round < 10; ++round) {
        const unsigned high0 = __umulhi(0xD2511F53u, c0), low0 = 0xD2511F53u * c0;
        const unsigned high1 = __umulhi(0xCD9E8D57u, c2), low1 = 0xCD9E8D57u * c2;
        c0 = high1 ^ c1 ^ k0;
        c1 = low1;
        c2 = high0 ^ c3 ^ k1;
        c3 = low0;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    return {{c0, c1, c2, c3}};
}

__device__ Key child(Key key, Key a, Key b) {
    const Words words = philox(a, b, key);
    return words.at[0] | (Key)words.at[1] << 32;
}

// The four words of one counter of a key's own draws.
__device__ Words draws(Key key, Key counter) { return philox(counter, (Key)DRAWS << 32 | DRAWS, key); }

// The n-th single draw: words of eight counters lie side by side. Chosen without an index, to stay in registers.
__device__ unsigned word(Key key, int n) {
    const Words words = draws(key, n / (4 * LANES) * LANES + n % LANES);
    const int part = n / LANES % 4;
    const unsigned even = part & 2 ? words.at[2] : words.at[0], odd = part & 2 ? words.at[3] : words.at[1];
    return part & 1 ? odd : even;
}

__device__ Key pair(Key key, int n) { return (Key)word(key, 2 * n) << 32 | word(key, 2 * n + 1); }

__device__ double uniform(Key key, int n) { return (double)(pair(key, n) >> 11) * (1.0 / 9007199254740992.0); }

__device__ double log_uniform(Key key, int n, double low, double high) {
    if (low == high) return low;
    const double value = times(low, pow(high / low, uniform(key, n)));
    return value < low ? low : value > high ? high : value;
}

__device__ float logarithm(float x) {
    const unsigned half = 0x3F3504F3u, shifted = __float_as_uint(x) - half;
    const float exponent = (float)((int)shifted >> 23);
    const float m = minus(__uint_as_float((shifted & 0x007FFFFFu) + half), 1.0f), z = times(m, m);
    float p = 7.0376836e-2f;
    p = plus(times(p, m), -1.151461e-1f);
    p = plus(times(p, m), 1.1676999e-1f);
    p = plus(times(p, m), -1.2420141e-1f);
    p = plus(times(p, m), 1.4249323e-1f);
    p = plus(times(p, m), -1.6668057e-1f);
    p = plus(times(p, m), 2.0000715e-1f);
    p = plus(times(p, m), -2.4999994e-1f);
    p = plus(times(p, m), 3.333333e-1f);
    const float tail = minus(minus(times(times(m, z), p), times(2.1219444e-4f, exponent)), times(0.5f, z));
    return plus(plus(m, tail), times(0.6933594f, exponent));
}

// A pair of normals from a pair of words: the length from all bits of the first, the angle from 24 of the second.
__device__ void box_muller(unsigned length, unsigned angle, float* x, float* y) {
    const float u = times(plus((float)length, 0.5f), 1.0f / 4294967296.0f);
    const float radius = __fsqrt_rn(fmaxf(times(-2.0f, logarithm(u)), 0.0f));
    const float quarters = times(times((float)(angle >> 8), 1.0f / 16777216.0f), 4.0f);
    const float rounded = plus(quarters, ROUND);
    const unsigned quadrant = __float_as_uint(rounded);
    const float r = times(minus(quarters, minus(rounded, ROUND)), 1.57079632679489661923f), z = times(r, r);
    float p = plus(times(-1.9515296e-4f, z), 8.332161e-3f);
    p = plus(times(p, z), -1.6666655e-1f);
    float q = plus(times(2.4433157e-5f, z), -1.3887316e-3f);
    q = plus(times(q, z), 4.1666646e-2f);
    const float sine = plus(r, times(times(r, z), p));
    const float cosine = plus(minus(1.0f, times(0.5f, z)), times(times(z, z), q));
    const unsigned s = __float_as_uint(quadrant & 1 ? cosine : sine) ^ (quadrant & 2) << 30;
    const unsigned c = __float_as_uint(quadrant & 1 ? sine : cosine) ^ (quadrant + 1 & 2) << 30;
    *x = times(radius, __uint_as_float(c));
    *y = times(radius, __uint_as_float(s));
}

// Give `put(i, z)` the normals first <= i < stop of a key, counted from first; the block shares the work.
template <class Put>
__device__ void normals(Key key, long long first, long long stop, Put put) {
    const long long last = (stop + 4 * LANES - 1) / (4 * LANES) * LANES;
    for (long long counter = first / (4 * LANES) * LANES + threadIdx.x; counter < last; counter += blockDim.x) {
        const Words words = draws(key, counter);
        float z[4];
        box_muller(words.at[0], words.at[1], z, z + 1);
        box_muller(words.at[2], words.at[3], z + 2, z + 3);
        const long long start = counter / LANES * (4 * LANES) + counter % LANES;
        for (int part = 0; part < 4; ++part) {
            const long long i = start + part * LANES;
            if (first <= i && i < stop) put((int)(i - first), z[part]);
        }
    }
}

// Inner product in eight partial sums, in the order of the Rust one.
template <class T>
__device__ T dot(const T* a, int a_stride, const T* b, int b_stride, int length) {
    const int whole = length / 8 * 8;
    T total = 0, sums[8] = {};
    for (int i = whole; i < length; ++i) total = plus(total, times(a[i * a_stride], b[i * b_stride]));
    for (int i = 0; i < whole; i += 8)
        for (int lane = 0; lane < 8; ++lane)
            sums[lane] = plus(sums[lane], times(a[(i + lane) * a_stride], b[(i + lane) * b_stride]));
    T rest = sums[0];
    for (int lane = 1; lane < 8; ++lane) rest = plus(rest, sums[lane]);
    return plus(total, rest);
}

// The root of a covariance of random axes, transposed: modified Gram-Schmidt on normals, each axis times its scale.
// Column k of `axes` is axis k.
__device__ void draw_factor(Key key, int dim, const double* variances, double* axes, float* factor, int columns,
                            double* axis) {
    normals(key, 0, (long long)dim * dim, [=](int i, float z) { axes[i % dim * columns + i / dim] = (double)z; });
    double mean = 0.0;
    for (int k = 0; k < dim; ++k) mean = plus(mean, variances[k]);
    mean = mean / dim;
    __syncthreads();

    for (int k = 0; k < dim; ++k) {
        const double* raw = axes + k;
        const double length = __dsqrt_rn(dot(raw, columns, raw, columns, dim));
        const double scale = __dsqrt_rn(variances[k] / mean);
        for (int i = threadIdx.x; i < dim; i += blockDim.x) {
            axis[i] = raw[i * columns] / length;
            factor[k * columns + i] = (float)times(axis[i], scale);
        }
        __syncthreads();
        for (int j = k + 1 + threadIdx.x; j < dim; j += blockDim.x) {
            const double shadow = dot(axis, 1, axes + j, columns, dim);
            for (int i = 0; i < dim; ++i) {
                axes[i * columns + j] = minus(axes[i * columns + j], times(shadow, axis[i]));
            }
        }
        __syncthreads();
    }
}

// The key of a task; what it is made of hangs below.
__device__ Key task_key(Key seed, Key task) { return child(child(seed, TASK, 0), task, 0); }

extern "C" __global__ void __launch_bounds__(128)
task_linear_settings(const long long* task_of, int* dims, float* noises, float* spreads, double* variances, int tasks,
                     int columns, long long seed, int dim_low, int dim_high, double noise_low, double noise_high,
                     double condition_low, double condition_high, double scale_low, double scale_high) {
    const int each = variances ? columns : 1;
    const long long all = (long long)tasks * each, step = (long long)gridDim.x * blockDim.x;
    for (long long e = (long long)blockIdx.x * blockDim.x + threadIdx.x; e < all; e += step) {
        const int t = (int)(e / each), k = (int)(e % each), span = dim_high - dim_low;
        const Key key = task_key(seed, task_of[t]), from = k ? child(child(key, 1, 0), 0, 0) : child(key, 0, 0);
        if (k == 0) dims[t] = dim_low + (span ? (int)__umul64hi(pair(from, 0), span + 1) : 0);
        // Noise and spread by the first thread of a task, condition and a variance by the others: two powers each.
        const double first = k ? log_uniform(from, 0, condition_low, condition_high)
                               : log_uniform(from, 1, noise_low, noise_high);
        const double second = log_uniform(from, k ? 1 + k : 2, k ? 1.0 : scale_low, k ? first : scale_high);
        if (k == 0) {
            noises[t] = (float)first;
            spreads[t] = (float)second;
        }
        if (variances) variances[e] = k == 0 ? 1.0 : k == 1 ? first : second;
    }
}

extern "C" __global__ void __launch_bounds__(128)
task_linear_draw(const long long* task_of, const int* dims, const float* spreads, const double* variances,
                 float* weights, double* axes, float* factor, int tasks, int columns, long long seed, double sparsity) {
    extern __shared__ float shared[];
    double* axis = (double*)shared;  // [D] the axis at hand

    for (int t = blockIdx.x; t < tasks; t += gridDim.x) {
        const Key key = task_key(seed, task_of[t]), of_weights = child(key, 2, 0), absent = child(of_weights, 1, 0);
        const int dim = dims[t];
        const float spread = spreads[t];
        float* own = weights + (long long)t * (1 + columns);
        normals(child(of_weights, 0, 0), 0, 1 + dim, [=](int i, float z) {
            own[i] = i && sparsity != 0.0 && uniform(absent, i - 1) < sparsity ? 0.0f : times(z, spread);
        });

        if (!factor) continue;
        const double* of_axes = variances + (long long)t * columns;
        float* root = factor + (long long)t * columns * columns;
        if (dim == 1 || of_axes[1] == 1.0) {
            for (int e = threadIdx.x; e < dim * dim; e += blockDim.x) {
                root[e / dim * columns + e % dim] = e / dim == e % dim ? 1.0f : 0.0f;
            }
        } else {
            const Key of_rotation = child(child(key, 1, 0), 1, 0);
            draw_factor(of_rotation, dim, of_axes, axes + (long long)t * columns * columns, root, columns, axis);
        }
    }
}

extern "C" __global__ void __launch_bounds__(128)
task_linear_rows(const long long* task_of, const long long* steps, const int* dims, const float* noises,
                 const float* weights, const float* factor, float* x, float* y, float* signal, int tasks, int rows,
                 int columns, int tile, long long seed, long long draw, float query_scale) {
    extern __shared__ float shared[];
    float* noise = shared;                                // [tile]
    float* z = noise + tile;                              // [tile][D|1], an odd stride: no two rows in one bank
    float* input = factor ? z + tile * (columns | 1) : z; // [tile][D|1]

    const int tiles = (rows + tile - 1) / tile;
    const float scale = steps ? 1.0f : query_scale;
    for (long long unit = blockIdx.x; unit < (long long)tasks * tiles; unit += gridDim.x) {
        const int t = (int)(unit / tiles), first = (int)(unit % tiles) * tile;
        const int count = rows - first < tile ? rows - first : tile, dim = dims[t], stride = dim | 1;
        const Key key = child(child(seed, steps ? CONTEXT : QUERY, 0), task_of[t], steps ? steps[t] : draw);
        normals(child(key, INPUTS, 0), (long long)first * dim, (long long)(first + count) * dim,
                [=](int i, float value) { z[i / dim * stride + i % dim] = value; });
        normals(child(key, TARGETS, 0), first, first + count, [=](int i, float value) { noise[i] = value; });
        __syncthreads();

        const float* root = factor + (long long)t * columns * columns;
        float* out = x + ((long long)t * rows + first) * columns;
        for (int e = threadIdx.x; e < count * columns; e += blockDim.x) {
            const int row = e / columns, column = e % columns;
            float value = 0.0f;
            if (column < dim) {
                const float* own = z + row * stride;
                value = times(factor ? dot(root + column, columns, own, 1, dim) : own[column], scale);
                input[row * stride + column] = value;
            }
            out[e] = value;
        }
        __syncthreads();

        const float* weight = weights + (long long)t * (1 + columns);
        for (int row = threadIdx.x; row < count; row += blockDim.x) {
            const float mean = plus(weight[0], dot(weight + 1, 1, input + row * stride, 1, dim));
            const long long place = (long long)t * rows + first + row;
            y[place] = plus(mean, times(noises[t], noise[row]));
            if (signal) signal[place] = mean;
        }
        __syncthreads();
    }
}
