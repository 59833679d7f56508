// prefix_gradient_backward: from a gradient with respect to prefix gradients to one with respect to the parameters.
//
//   later_i = sum_{b>=i} upstream_b / (weight_1 + .. + weight_b), over the last `prefixes` b
//   out = sum_i weight_i * x_i (H_i later_i' x_i)', H_i = 1 where O is 1, else diag(p) - p p' with p = softmax(theta' x_i)
//
//   upstream [T,prefixes,D,O]  theta [T,D,O]  x [T,B,D]  y [T,B] (not read)  weight [T,B] or null  out [T,D,O]
//   tasks T  batch B  prefixes 1 or B  columns D  outputs O
//
// Launch: any 1-D grid (blocks stride over T tasks), 1-D blocks of whole warps, shared memory
//   4 * ((ROWS+2) * D*O + ROWS * (2*O+2)) bytes.
// Reference: amortix.ops.prefix_gradient_backward, `definition`.
//
// From the last row to the first, ROWS at a time: every thread adds the upstream gradients of its elements and leaves
// their products with the row's columns; a warp per row adds those up over the columns; every thread then adds the row's
// outer product to its elements.

#define ROWS 8

// The sum over a warp, the same in every lane.
__device__ float warp_sum(float value) {
    for (int bits = 16; bits > 0; bits /= 2) value += __shfl_xor_sync(~0u, value, bits);
    return value;
}

// The weight of a row; 0 for padding.
__device__ float weight_of(const float* weight, long long row) {
    const float given = weight ? weight[row] : 1.0f;
    return given > 0.0f ? given : 0.0f;
}

// From the gradient with respect to the means to that with respect to the scores, times the weight.
__device__ void through_mean(float* side, float* scores, int outputs, float weight) {
    if (outputs == 1) {
        side[0] *= weight;
        return;
    }
    float top = scores[0], total = 0.0f, mean = 0.0f;
    for (int o = 1; o < outputs; ++o) top = fmaxf(top, scores[o]);
    for (int o = 0; o < outputs; ++o) {
        scores[o] = expf(scores[o] - top);
        total += scores[o];
        mean += scores[o] * side[o];
    }
    for (int o = 0; o < outputs; ++o) side[o] = weight * (scores[o] / total) * (side[o] - mean / total);
}

extern "C" __global__ void __launch_bounds__(512)
prefix_gradient_backward(const float* upstream, const float* theta, const float* x, const float* y,
                         const float* weight, float* out,
                         int tasks, int batch, int prefixes, int columns, int outputs) {
    extern __shared__ float shared[];
    const int width = columns * outputs;
    float* products = shared;                 // [ROWS][D*O]
    float* later = products + ROWS * width;   // [D*O], an element belongs to one thread
    float* sums = later + width;              // [D*O], likewise
    float* sides = sums + width;              // [ROWS][O]
    float* scores = sides + ROWS * outputs;   // [ROWS][O]
    float* weights = scores + ROWS * outputs; // [ROWS], 0 for padding
    float* totals = weights + ROWS;           // [ROWS], weights of the prefixes
    const int warp = threadIdx.x / 32, warps = blockDim.x / 32, lane = threadIdx.x % 32;

    for (long long task = blockIdx.x; task < tasks; task += gridDim.x) {
        const float* my_theta = theta + task * width;
        const float* my_upstream = upstream + task * prefixes * width;
        for (int e = threadIdx.x; e < width; e += blockDim.x) later[e] = sums[e] = 0.0f;

        for (int start = (batch - 1) / ROWS * ROWS; start >= 0 && batch > 0; start -= ROWS) {
            const int rows = batch - start < ROWS ? batch - start : ROWS;
            const float* my_x = x + (task * batch + start) * columns;
            if (warp == 0) {
                float before = 0.0f;
                for (int b = lane; b < start; b += 32) before += weight_of(weight, task * batch + b);
                before = warp_sum(before);
                for (int r = 0; r < rows; ++r) {
                    const float own = weight_of(weight, task * batch + start + r);
                    before += own;
                    if (lane == r) {
                        weights[r] = own;
                        totals[r] = before;
                    }
                }
            }
            __syncthreads();
            for (int e = threadIdx.x; e < width; e += blockDim.x) {
                const int column = e / outputs;
                float sum = later[e];
                for (int r = rows - 1; r >= 0; --r) {
                    const int slot = start + r - (batch - prefixes);
                    if (slot >= 0 && totals[r] > 0.0f) sum += my_upstream[(long long)slot * width + e] / totals[r];
                    products[r * width + e] = weights[r] > 0.0f ? sum * my_x[r * columns + column] : 0.0f;
                }
                later[e] = sum;
            }
            __syncthreads();
            for (int r = warp; r < rows; r += warps) {
                for (int o = 0; o < outputs; ++o) {
                    float side = 0.0f, score = 0.0f;
                    for (int d = lane; d < columns; d += 32) {
                        side += products[r * width + d * outputs + o];
                        if (outputs > 1) score += my_x[r * columns + d] * my_theta[d * outputs + o];
                    }
                    side = warp_sum(side);
                    score = warp_sum(score);
                    if (lane == 0) {
                        sides[r * outputs + o] = side;
                        scores[r * outputs + o] = score;
                    }
                }
                if (lane == 0) through_mean(sides + r * outputs, scores + r * outputs, outputs, weights[r]);
            }
            __syncthreads();
            for (int e = threadIdx.x; e < width; e += blockDim.x) {
                const int column = e / outputs, output = e % outputs;
                float sum = sums[e];
                for (int r = rows - 1; r >= 0; --r)
                    if (weights[r] > 0.0f) sum += my_x[r * columns + column] * sides[r * outputs + output];
                sums[e] = sum;
            }
            __syncthreads();
        }
        for (int e = threadIdx.x; e < width; e += blockDim.x) out[task * width + e] = sums[e];
    }
}
