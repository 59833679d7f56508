// two_term_update_backward: the gradients of the two-term step.
//
//   t = upstream_theta + upstream_average / age, s = age^(-1/2 - softplus(decay)), k = delay / (age + delay), v = -k * t
//   to the memory n = upstream_memory + s * t, of which sigmoid(gate) goes to the proposal
//   to g: softplus(diagonal) * v + U U' v; to U: v (U'g)' + g (U'v)'; to the scalars: sums over the parameters
//
//   upstream_*, theta .. diagonal and their gradients [T,P]  factors U [T,P,R]  decay, delay, age [T]
//   theta and average are not read
//   tasks T  parameters P  rank R
//
// Launch: any 1-D grid (blocks stride over T tasks), 1-D blocks of whole warps, best one thread per parameter up to 256,
//   shared memory 4 * (warps+1) * (2R+2) bytes.
// Reference: amortix.ops.two_term_update_backward, `definition`.
//
// The block adds up 2R + 2 sums, in warps and then over them: U'g, U't, t * memory' and t * softplus(diagonal) * g.

#define WARP 32

// The sum over a warp, the same in every lane.
__device__ float warp_sum(float value) {
    for (int bits = WARP / 2; bits > 0; bits /= 2) value += __shfl_xor_sync(~0u, value, bits);
    return value;
}

__device__ float sigmoid(float x) { return 1.0f / (1.0f + expf(-x)); }

__device__ float softplus(float x) { return fmaxf(x, 0.0f) + log1pf(expf(-fabsf(x))); }

extern "C" __global__ void __launch_bounds__(256)
two_term_update_backward(const float* upstream_theta, const float* upstream_memory, const float* upstream_average,
                         const float* theta, const float* memory, const float* average, const float* proposal,
                         const float* gate, const float* gradient, const float* diagonal, const float* factors,
                         const float* decay, const float* delay, const float* age,
                         float* to_theta, float* to_memory, float* to_average, float* to_proposal, float* to_gate,
                         float* to_gradient, float* to_diagonal, float* to_factors, float* to_decay, float* to_delay,
                         int tasks, int parameters, int rank) {
    extern __shared__ float shared[];
    const int sums = 2 * rank + 2;
    float* total = shared;         // [2R+2] U'g, U't, t * memory', t * softplus(diagonal) * g
    float* partial = total + sums; // [warps][2R+2]
    const int warp = threadIdx.x / WARP, warps = blockDim.x / WARP, lane = threadIdx.x % WARP;

    for (long long task = blockIdx.x; task < tasks; task += gridDim.x) {
        const long long first = task * parameters;
        const float* my_factors = factors + first * rank;
        const float now = age[task];
        for (int r = 0; r < rank; ++r) {
            float down = 0.0f, up = 0.0f;
            for (int p = threadIdx.x; p < parameters; p += blockDim.x) {
                const float u = my_factors[(long long)p * rank + r];
                down += u * gradient[first + p];
                up += u * (upstream_theta[first + p] + upstream_average[first + p] / now);
            }
            down = warp_sum(down);
            up = warp_sum(up);
            if (lane == 0) {
                partial[warp * sums + r] = down;
                partial[warp * sums + rank + r] = up;
            }
        }
        float fade = 0.0f, step = 0.0f;
        for (int p = threadIdx.x; p < parameters; p += blockDim.x) {
            const long long e = first + p;
            const float t = upstream_theta[e] + upstream_average[e] / now;
            fade += t * (memory[e] + sigmoid(gate[e]) * (proposal[e] - memory[e]));
            step += t * softplus(diagonal[e]) * gradient[e];
        }
        fade = warp_sum(fade);
        step = warp_sum(step);
        if (lane == 0) {
            partial[warp * sums + 2 * rank] = fade;
            partial[warp * sums + 2 * rank + 1] = step;
        }
        __syncthreads();
        for (int i = threadIdx.x; i < sums; i += blockDim.x) {
            float sum = 0.0f;
            for (int w = 0; w < warps; ++w) sum += partial[w * sums + i];
            total[i] = sum;
        }
        __syncthreads();

        const float sum = now + delay[task], gain = delay[task] / sum;
        const float fading = expf(-(0.5f + softplus(decay[task])) * logf(now));
        if (threadIdx.x == 0) {
            float through = total[2 * rank + 1];
            for (int r = 0; r < rank; ++r) through += total[r] * total[rank + r];
            to_decay[task] = -total[2 * rank] * fading * logf(now) * sigmoid(decay[task]);
            to_delay[task] = -through * now / (sum * sum);
        }
        for (int p = threadIdx.x; p < parameters; p += blockDim.x) {
            const long long e = first + p;
            const float t = upstream_theta[e] + upstream_average[e] / now, v = -gain * t;
            const float n = upstream_memory[e] + fading * t, open = sigmoid(gate[e]), shut = sigmoid(-gate[e]);
            float back = softplus(diagonal[e]) * v;
            for (int r = 0; r < rank; ++r) {
                const float above = -gain * total[rank + r];
                back += my_factors[(long long)p * rank + r] * above;
                to_factors[e * rank + r] = v * total[r] + gradient[e] * above;
            }
            to_theta[e] = t;
            to_memory[e] = shut * n;
            to_average[e] = upstream_average[e] - upstream_average[e] / now;
            to_proposal[e] = open * n;
            to_gate[e] = open * shut * (proposal[e] - memory[e]) * n;
            to_gradient[e] = back;
            to_diagonal[e] = sigmoid(diagonal[e]) * gradient[e] * v;
        }
    }
}
