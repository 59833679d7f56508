// prefix_gradient: mean gradient of linear predictors over every prefix of a mini-batch, or over the whole of it.
//
//   gradient[b] = sum_{i<=b} weight_i * x_i (m(theta' x_i) - y_i)' / sum_{i<=b} weight_i, for the last `prefixes` b
//   m: the identity where O is 1; else the softmax, and y names the class. Rows of weight 0 are padding.
//
//   theta [T,D,O]  x [T,B,D]  y [T,B]  weight [T,B] or null  gradient [T,prefixes,D,O]
//   tasks T  batch B  prefixes 1 or B  columns D  outputs O
//
// Launch: any 1-D grid (blocks stride over T * ceil(D*O / blockDim) parts of matrices), 1-D blocks of whole warps,
//   shared memory 4 * ROWS * (O+1) bytes.
// Reference: amortix.ops.prefix_gradient, `definition`.
//
// ROWS rows at a time: a warp per row takes its scores, a thread per row its residual; then every thread adds up the
// rows for its own element of the matrix, in order, and writes what the prefixes are worth. The rows are in the
// first-level cache when they are read for the second time.

#define ROWS 32

// The sum over a warp, the same in every lane.
__device__ float warp_sum(float value) {
    for (int bits = 16; bits > 0; bits /= 2) value += __shfl_xor_sync(~0u, value, bits);
    return value;
}

// Scores to their gradient: what the predictor says less the target, times the weight.
__device__ void residual(float* scores, int outputs, float y, float weight) {
    if (outputs == 1) {
        scores[0] = weight * (scores[0] - y);
        return;
    }
    float top = scores[0], total = 0.0f;
    for (int o = 1; o < outputs; ++o) top = fmaxf(top, scores[o]);
    for (int o = 0; o < outputs; ++o) {
        scores[o] = expf(scores[o] - top);
        total += scores[o];
    }
    for (int o = 0; o < outputs; ++o) scores[o] = weight * (scores[o] / total - (y == (float)o ? 1.0f : 0.0f));
}

extern "C" __global__ void __launch_bounds__(512)
prefix_gradient(const float* theta, const float* x, const float* y, const float* weight, float* gradient,
                int tasks, int batch, int prefixes, int columns, int outputs) {
    extern __shared__ float shared[];
    float* sides = shared;                  // [ROWS][O] scores, then weighted residuals
    float* weights = sides + ROWS * outputs; // [ROWS], 0 for padding
    const int width = columns * outputs, parts = (width + blockDim.x - 1) / blockDim.x;
    const int warp = threadIdx.x / 32, warps = blockDim.x / 32, lane = threadIdx.x % 32;

    for (long long unit = blockIdx.x; unit < (long long)tasks * parts; unit += gridDim.x) {
        const long long task = unit / parts;
        const int element = (int)(unit % parts) * blockDim.x + threadIdx.x;
        const int column = element / outputs, output = element % outputs;
        const float* my_theta = theta + task * width;
        float* my_gradient = gradient + task * prefixes * width;
        float sum = 0.0f, total = 0.0f;
        if (batch == 0 && element < width && prefixes > 0) my_gradient[element] = 0.0f;

        for (int start = 0; start < batch; start += ROWS) {
            const int rows = batch - start < ROWS ? batch - start : ROWS;
            const float* my_x = x + (task * batch + start) * columns;
            for (int r = warp; r < rows; r += warps) {
                const float* row = my_x + r * columns;
                for (int o = 0; o < outputs; ++o) {
                    float score = 0.0f;
                    for (int d = lane; d < columns; d += 32) score += row[d] * my_theta[d * outputs + o];
                    score = warp_sum(score);
                    if (lane == 0) sides[r * outputs + o] = score;
                }
            }
            __syncthreads();
            for (int r = threadIdx.x; r < rows; r += blockDim.x) {
                const long long row = task * batch + start + r;
                const float given = weight ? weight[row] : 1.0f;
                weights[r] = given > 0.0f ? given : 0.0f;
                if (given > 0.0f) residual(sides + r * outputs, outputs, y[row], given);
            }
            __syncthreads();
            // Every thread adds up the weights: cheaper than a barrier.
            for (int r = 0; r < rows && element < width; ++r) {
                total += weights[r];
                if (weights[r] > 0.0f) sum += my_x[r * columns + column] * sides[r * outputs + output];
                const int slot = start + r - (batch - prefixes);
                if (slot >= 0) my_gradient[(long long)slot * width + element] = total > 0.0f ? sum / total : 0.0f;
            }
            __syncthreads();
        }
    }
}
