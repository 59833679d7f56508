// log_evidence: log marginal likelihood of a Gaussian process on N rows, and its slopes in the kernel's logarithms.
//
//   A = linear * (1 + x x') + signal0 * exp(-sqrt(s)) + signal1 * exp(-stretch * s / 2) + added * I,
//   s = sum_D relevance * (x - x')^2, signal0 = e^log_signal0 and so on, added = noise + jitter * mean prior variance
//   value = -(sum_O y' A^-1 y / O + ln det A + N ln 2 pi) / 2
//   G = (sum_O a a' / O - A^-1) / 2 with a = A^-1 y; a slope is sum_ij G_ij dA_ij
//   Rows whose weight is not above 0 are left out.
//
//   x [T,N,D]  y [T,N,O]  weight [T,N]  log_relevance [T,D]  log_signal [T,2]  log_stretch, log_linear, log_noise [T]
//   value [T]  relevance_slope [T,D]  signal_slope [T,2]  stretch_slope, linear_slope, noise_slope [T]
//   tasks T  rows N  columns D  outputs O
//
// Launch: any 1-D grid (blocks stride over the tasks), 1-D blocks of 256 threads, N at most 256, shared memory
//   4 * (N*(N+1)/2 + 2*O*N + 2*N + 256) bytes.
// Reference: amortix.ops.log_evidence, `definition`; Rasmussen and Williams (2006), eq. 2.30, 4.9, 4.18 and 5.9.
//
// One block per task. The lower triangle is packed by rows and becomes L, then L^-1, then A^-1, then -4 G o dA/ds, each
// in the place of the one before.

#define BLOCK 256

// The sum of every thread's value, in one order. A barrier must follow before the next sum where any thread but the first
// uses the result.
__device__ float block_sum(float* partial, float value) {
    partial[threadIdx.x] = value;
    __syncthreads();
    for (int half = BLOCK / 2; half > 0; half /= 2) {
        if (threadIdx.x < half) partial[threadIdx.x] += partial[threadIdx.x + half];
        __syncthreads();
    }
    return partial[0];
}

// List the rows that count, in order; returns their number.
__device__ int list_counted(const float* weight, int rows, int* row_of) {
    int total = 0;
    for (int i = 0; i < rows; ++i) {
        if (!(weight[i] > 0.0f)) continue;
        if (threadIdx.x == 0) row_of[total] = i;
        ++total;
    }
    return total;
}

__device__ float* row_at(float* matrix, int i) { return matrix + i * (i + 1) / 2; }

// Unrolled further, this and the next cost registers that the sums below then lack.
__device__ float square(const float* a, const float* b, const float* log_relevance, int columns) {
    float total = 0.0f;
    #pragma unroll 2
    for (int d = 0; d < columns; ++d) total += fmaxf(expf(log_relevance[d]), 1e-30f) * (a[d] - b[d]) * (a[d] - b[d]);
    return total;
}

__device__ float product(const float* a, const float* b, int columns) {
    float total = 0.0f;
    #pragma unroll 2
    for (int d = 0; d < columns; ++d) total += a[d] * b[d];
    return total;
}

extern "C" __global__ void __launch_bounds__(256)
log_evidence(const float* x, const float* y, const float* weight, const float* log_relevance, const float* log_signal,
             const float* log_stretch, const float* log_linear, const float* log_noise, float* value,
             float* relevance_slope, float* signal_slope, float* stretch_slope, float* linear_slope, float* noise_slope,
             int tasks, int rows, int columns, int outputs, float jitter) {
    extern __shared__ float shared[];
    float* matrix = shared;                              // the triangle
    float* right = matrix + rows * (rows + 1) / 2;       // [O][N] y, then L^-1 y
    float* solved = right + outputs * rows;              // [O][N] A^-1 y
    float* root = solved + outputs * rows;               // [N] 1 / L_ii
    int* row_of = (int*)(root + rows);                   // [N]
    float* partial = (float*)(row_of + rows);            // [BLOCK]
    const int t = threadIdx.x;

    for (int task = blockIdx.x; task < tasks; task += gridDim.x) {
        const float* my_x = x + (long long)task * rows * columns;
        const float* my_y = y + (long long)task * rows * outputs;
        const float* scales = log_relevance + (long long)task * columns;
        const float rough = expf(log_signal[2 * task]), smooth = expf(log_signal[2 * task + 1]);
        const float decay = -0.5f * expf(log_stretch[task]), linear = expf(log_linear[task]), noise = expf(log_noise[task]);
        const int n = list_counted(weight + (long long)task * rows, rows, row_of);
        __syncthreads();

        float own = 0.0f;
        if (t < n) own = product(my_x + row_of[t] * columns, my_x + row_of[t] * columns, columns);
        const float power = block_sum(partial, own) / (n > 0 ? n : 1);
        const float added = noise + jitter * (linear * (1.0f + power) + rough + smooth);
        for (int e = t; e < n * n; e += BLOCK) {
            const int i = e / n, j = e % n;
            if (j > i) continue;
            const float *a = my_x + row_of[i] * columns, *b = my_x + row_of[j] * columns;
            const float s = square(a, b, scales, columns);
            const float local = rough * expf(-sqrtf(s)) + smooth * expf(decay * s);
            const float prior = linear * (1.0f + product(a, b, columns)) + local;
            row_at(matrix, i)[j] = prior + (i == j ? added : 0.0f);
        }
        for (int e = t; e < n * outputs; e += BLOCK) {
            right[(e % outputs) * rows + e / outputs] = my_y[row_of[e / outputs] * outputs + e % outputs];
        }
        __syncthreads();

        // L and L^-1 y. Every thread sums up the pivot beside its own entry: one barrier per column. In exact arithmetic
        // no pivot is below `added`.
        for (int j = 0; j < n; ++j) {
            const float* pivot_row = row_at(matrix, j);
            for (int i = j + t; i < n + outputs; i += BLOCK) {
                float* row = i < n ? row_at(matrix, i) : right + (i - n) * rows;
                float sum = 0.0f, squares = 0.0f;
                for (int k = 0; k < j; ++k) {
                    sum += row[k] * pivot_row[k];
                    squares += pivot_row[k] * pivot_row[k];
                }
                const float scale = 1.0f / sqrtf(fmaxf(pivot_row[j] - squares, added));
                if (i > j) row[j] = (row[j] - sum) * scale;
                else root[j] = scale;
            }
            __syncthreads();
        }
        own = t < n ? -2.0f * logf(root[t]) : 0.0f;
        for (int e = t; e < n * outputs; e += BLOCK) {
            const float u = right[(e / n) * rows + e % n];
            own += u * u / outputs;
        }
        const float twice = block_sum(partial, own);
        if (t == 0) value[task] = -0.5f * (twice + n * 1.8378770664093453f);

        // L^-1, row by row: thread j has column j.
        for (int i = 0; i < n; ++i) {
            float* row = row_at(matrix, i);
            float sum = 0.0f;
            for (int k = t; k < i; ++k) sum += row[k] * row_at(matrix, k)[t];
            __syncthreads();
            if (t <= i) row[t] = t < i ? -sum * root[i] : root[i];
            __syncthreads();
        }
        for (int e = t; e < n * outputs; e += BLOCK) {
            const int o = e / n, i = e % n;
            float sum = 0.0f;
            for (int k = i; k < n; ++k) sum += row_at(matrix, k)[i] * right[o * rows + k];
            solved[o * rows + i] = sum;
        }
        // A^-1 = L^-T L^-1: row i needs itself and the rows below.
        for (int i = 0; i < n; ++i) {
            float sum = 0.0f;
            if (t <= i) {
                for (int k = i; k < n; ++k) sum += row_at(matrix, k)[i] * row_at(matrix, k)[t];
            }
            __syncthreads();
            if (t <= i) row_at(matrix, i)[t] = sum;
        }
        __syncthreads();

        // 2 G, where an entry beside the diagonal stands for its mirror image too.
        float diagonal = 0.0f, falls = 0.0f, bells = 0.0f, bend = 0.0f, global = 0.0f;
        for (int e = t; e < n * n; e += BLOCK) {
            const int i = e / n, j = e % n;
            if (j > i) continue;
            const float *a = my_x + row_of[i] * columns, *b = my_x + row_of[j] * columns;
            float fit = 0.0f;
            for (int o = 0; o < outputs; ++o) fit += solved[o * rows + i] * solved[o * rows + j];
            float slope = fit / outputs - row_at(matrix, i)[j];
            if (i == j) {
                slope *= 0.5f;
                diagonal += slope;
            }
            const float s = square(a, b, scales, columns), r = sqrtf(s);
            const float fall = slope * rough * expf(-r), bell = slope * smooth * expf(decay * s);
            falls += fall;
            bells += bell;
            bend += s * bell;
            global += slope * linear * (1.0f + product(a, b, columns));
            row_at(matrix, i)[j] = (r > 0.0f ? fall / r : 0.0f) - 2.0f * decay * bell;
        }
        diagonal = block_sum(partial, diagonal);
        falls = block_sum(partial, falls);
        bells = block_sum(partial, bells);
        bend = block_sum(partial, bend);
        global = block_sum(partial, global);
        if (t == 0) {
            signal_slope[2 * task] = falls + jitter * rough * diagonal;
            signal_slope[2 * task + 1] = bells + jitter * smooth * diagonal;
            stretch_slope[task] = decay * bend;
            linear_slope[task] = global + jitter * linear * (1.0f + power) * diagonal;
            noise_slope[task] = noise * diagonal;
        }
        for (int d = 0; d < columns; ++d) {
            float sum = 0.0f;
            for (int e = t; e < n * n; e += BLOCK) {
                const int i = e / n, j = e % n;
                if (j > i) continue;
                const float delta = my_x[row_of[i] * columns + d] - my_x[row_of[j] * columns + d];
                sum += row_at(matrix, i)[j] * delta * delta;
            }
            sum = block_sum(partial, sum);
            if (t == 0) relevance_slope[(long long)task * columns + d] = -0.5f * fmaxf(expf(scales[d]), 1e-30f) * sum;
        }
    }
}
