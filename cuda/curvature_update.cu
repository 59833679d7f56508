// curvature_update: merge a mini-batch into the running second moments of the per-example Jacobian.
//
//   n' = n + sum_B weight, C' = (n * C + sum_B weight * J J') / n'; rows whose weight is not above 0 are inert.
//   Without any weight C' = C.
//
//   second [T,S,S]  count [T]  jacobian [T,B,S]  weight [T,B] or null
//   out_second [T,S,S]  out_count [T]
//   tasks T  batch B  state S, at most 64
//
// Launch: any 1-D grid (blocks stride over the T tasks), 1-D blocks of at least n*n threads with n = (S + 3) / 4, and at
//   most 256; shared memory 4 * ROWS * (4*n + 1) bytes with ROWS = 32.
// Reference: amortix.ops.curvature_update, `definition`.
//
// One block per task. Rows go by in stages, each scaled by the root of its weight, so that C' is symmetric to the last
// bit; a thread holds 4 x 4 entries that lie n apart, so that the threads of a warp read neighbouring words.

#define ROWS 32

extern "C" __global__ void __launch_bounds__(256)
curvature_update(const float* second, const float* count, const float* jacobian, const float* weight,
                 float* out_second, float* out_count, int tasks, int batch, int state) {
    extern __shared__ float shared[];
    const int n = (state + 3) / 4, width = 4 * n;
    float* rows = shared;                 // [ROWS][4n]
    float* weights = rows + ROWS * width; // [ROWS]
    const int top = threadIdx.x / n, left = threadIdx.x % n;

    for (long long task = blockIdx.x; task < tasks; task += gridDim.x) {
        float sums[4][4] = {};
        float fresh = 0.0f;
        for (int start = 0; start < batch; start += ROWS) {
            const int height = batch - start < ROWS ? batch - start : ROWS;
            for (int e = threadIdx.x; e < height * width; e += blockDim.x) {
                const int i = e % width;
                const long long row = task * batch + start + e / width;
                const float own = weight ? weight[row] : 1.0f;
                rows[e] = own > 0.0f && i < state ? sqrtf(own) * jacobian[row * state + i] : 0.0f;
                if (i == 0) weights[e / width] = own > 0.0f ? own : 0.0f;
            }
            __syncthreads();
            for (int b = 0; b < height; ++b) {
                fresh += weights[b];
                if (top >= n) continue;
                const float* row = rows + b * width;
                float a[4], c[4];
                for (int k = 0; k < 4; ++k) {
                    a[k] = row[top + k * n];
                    c[k] = row[left + k * n];
                }
                for (int r = 0; r < 4; ++r)
                    for (int k = 0; k < 4; ++k) sums[r][k] += a[r] * c[k];
            }
            __syncthreads();
        }

        const float before = count[task], total = before + fresh;
        const float keep = total > 0.0f ? before / total : 1.0f, scale = total > 0.0f ? 1.0f / total : 0.0f;
        if (threadIdx.x == 0) out_count[task] = total;
        if (top >= n) continue;
        for (int r = 0; r < 4; ++r) {
            for (int k = 0; k < 4; ++k) {
                const int i = top + r * n, j = left + k * n;
                if (i >= state || j >= state) continue;
                const long long place = (task * state + i) * state + j;
                out_second[place] = keep * second[place] + scale * sums[r][k];
            }
        }
    }
}
