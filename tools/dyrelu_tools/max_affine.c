// min(max(a0 * x + b0, a1 * x + b1), limit) and its gradients. x is [images][positions][channels], the coefficients are
// [images][4][channels] in the order a0, a1, b0, b1. See fused.py.

#include <stddef.h>

void forward(const float *restrict x, const float *restrict coefficients, float *restrict y, int images, int positions,
             int channels, float limit) {
    for (int n = 0; n < images; n++) {
        const float *a0 = coefficients + (size_t)n * 4 * channels, *a1 = a0 + channels;
        const float *b0 = a1 + channels, *b1 = b0 + channels;
        for (int p = 0; p < positions; p++, x += channels, y += channels) {
            for (int c = 0; c < channels; c++) {
                float first = a0[c] * x[c] + b0[c], second = a1[c] * x[c] + b1[c];
                float largest = second > first ? second : first;
                y[c] = largest > limit ? limit : largest;
            }
        }
    }
}

// The gradient of a clipped value is zero. `grad_coefficients` must be zero before the call.
void backward(const float *restrict grad, const float *restrict x, const float *restrict coefficients,
              float *restrict grad_x, float *restrict grad_coefficients, int images, int positions, int channels,
              float limit) {
    for (int n = 0; n < images; n++) {
        const float *restrict a0 = coefficients + (size_t)n * 4 * channels, *restrict a1 = a0 + channels;
        const float *restrict b0 = a1 + channels, *restrict b1 = b0 + channels;
        float *restrict ga0 = grad_coefficients + (size_t)n * 4 * channels, *restrict ga1 = ga0 + channels;
        float *restrict gb0 = ga1 + channels, *restrict gb1 = gb0 + channels;
        for (int p = 0; p < positions; p++, x += channels, grad += channels, grad_x += channels) {
            for (int c = 0; c < channels; c++) {
                float first = a0[c] * x[c] + b0[c], second = a1[c] * x[c] + b1[c];
                int wins = second > first;
                float g = (wins ? second : first) > limit ? 0.0f : grad[c];
                float g0 = wins ? 0.0f : g, g1 = wins ? g : 0.0f;
                grad_x[c] = g * (wins ? a1[c] : a0[c]);
                ga0[c] += g0 * x[c];
                ga1[c] += g1 * x[c];
                gb0[c] += g0;
                gb1[c] += g1;
            }
        }
    }
}
