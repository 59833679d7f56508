// two_term_update: one step of many states, a proposal that fades with age beside a preconditioned gradient.
//
//   memory' = memory + sigmoid(gate) * (proposal - memory)
//   theta' = theta + memory' * age^(-1/2 - softplus(decay)) - delay / (age + delay) * (softplus(diagonal) * g + U U' g)
//   average' = average + (theta' - average) / age
//
//   theta, memory, average, proposal, gate, gradient g, diagonal, and the three results [T,P]  factors U [T,P,R]
//   decay, delay, age [T]
//   tasks T  parameters P  rank R
//
// Launch: any 1-D grid (blocks stride over T tasks), 1-D blocks of whole warps, best one thread per parameter up to 256,
//   shared memory 4 * (warps+1) * R bytes.
// Reference: amortix.ops.two_term_update, `definition`.
//
// The block projects the gradient on the factors, in warps and then over them; after that parameters are independent.

#define WARP 32

// The sum over a warp, the same in every lane.
__device__ float warp_sum(float value) {
    for (int bits = WARP / 2; bits > 0; bits /= 2) value += __shfl_xor_sync(~0u, value, bits);
    return value;
}

__device__ float sigmoid(float x) { return 1.0f / (1.0f + expf(-x)); }

__device__ float softplus(float x) { return fmaxf(x, 0.0f) + log1pf(expf(-fabsf(x))); }

extern "C" __global__ void __launch_bounds__(256)
two_term_update(const float* theta, const float* memory, const float* average, const float* proposal,
                const float* gate, const float* gradient, const float* diagonal, const float* factors,
                const float* decay, const float* delay, const float* age,
                float* out_theta, float* out_memory, float* out_average, int tasks, int parameters, int rank) {
    extern __shared__ float shared[];
    float* projected = shared;         // [R] U'g
    float* partial = projected + rank; // [warps][R]
    const int warp = threadIdx.x / WARP, warps = blockDim.x / WARP, lane = threadIdx.x % WARP;

    for (long long task = blockIdx.x; task < tasks; task += gridDim.x) {
        const long long first = task * parameters;
        const float* my_factors = factors + first * rank;
        for (int r = 0; r < rank; ++r) {
            float sum = 0.0f;
            for (int p = threadIdx.x; p < parameters; p += blockDim.x)
                sum += my_factors[(long long)p * rank + r] * gradient[first + p];
            sum = warp_sum(sum);
            if (lane == 0) partial[warp * rank + r] = sum;
        }
        __syncthreads();
        for (int r = threadIdx.x; r < rank; r += blockDim.x) {
            float sum = 0.0f;
            for (int w = 0; w < warps; ++w) sum += partial[w * rank + r];
            projected[r] = sum;
        }
        __syncthreads();

        const float now = age[task], gain = delay[task] / (now + delay[task]);
        const float fading = expf(-(0.5f + softplus(decay[task])) * logf(now));
        for (int p = threadIdx.x; p < parameters; p += blockDim.x) {
            const long long e = first + p;
            float step = softplus(diagonal[e]) * gradient[e];
            for (int r = 0; r < rank; ++r) step += my_factors[(long long)p * rank + r] * projected[r];
            const float remembered = memory[e] + sigmoid(gate[e]) * (proposal[e] - memory[e]);
            const float next = theta[e] + (fading * remembered - gain * step);
            out_theta[e] = next;
            out_memory[e] = remembered;
            out_average[e] = average[e] + (next - average[e]) / now;
        }
    }
}
