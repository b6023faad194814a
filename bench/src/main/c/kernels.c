/*
 * The loops that Tensorhold's kernels are timed beside, as one writes them in C and leaves the rest to the
 * compiler: gcc -O3 -march=native -ffast-math. They do the same work per element, on the same layouts; under
 * -ffast-math their last bits may differ, and NaN is not looked for.
 */
#include <math.h>
#include <stdint.h>
#include <string.h>

typedef const float *restrict in_t;
typedef float *restrict out_t;

static inline uint32_t bits(float x) {
  uint32_t u;
  memcpy(&u, &x, 4);
  return u;
}

static inline float value(uint32_t u) {
  float x;
  memcpy(&x, &u, 4);
  return x;
}

static inline uint16_t half(float x) {
  _Float16 h = (_Float16)x;
  uint16_t u;
  memcpy(&u, &h, 2);
  return u;
}

static inline float single(uint16_t u) {
  _Float16 h;
  memcpy(&h, &u, 2);
  return (float)h;
}

void encode_f16(in_t x, _Float16 *restrict y, long n) {
  for (long i = 0; i < n; i++) y[i] = (_Float16)x[i];
}

void decode_f16(const _Float16 *restrict x, out_t y, long n) {
  for (long i = 0; i < n; i++) y[i] = (float)x[i];
}

void encode_bf16(in_t x, uint16_t *restrict y, long n) {
  for (long i = 0; i < n; i++) {
    uint32_t u = bits(x[i]);
    uint32_t r = (u + 0x7fff + ((u >> 16) & 1)) >> 16;
    y[i] = (u & 0x7fffffff) > 0x7f800000 ? ((u >> 16) & 0x8000) | 0x7fc0 : r;
  }
}

void decode_bf16(const uint16_t *restrict x, out_t y, long n) {
  for (long i = 0; i < n; i++) y[i] = value((uint32_t)x[i] << 16);
}

typedef struct {
  uint16_t d;
  int8_t q[32];
} __attribute__((packed)) q8_0_t;

void encode_q8_0(in_t x, q8_0_t *restrict y, long n) {
  for (long g = 0; g < n / 32; g++) {
    float largest = 0;
    for (int i = 0; i < 32; i++) largest = fmaxf(largest, fabsf(x[32 * g + i]));
    float d = largest / 127, id = d != 0 ? 1 / d : 0;
    y[g].d = half(d);
    for (int i = 0; i < 32; i++) y[g].q[i] = (int8_t)roundf(x[32 * g + i] * id);
  }
}

void decode_q8_0(const q8_0_t *restrict x, out_t y, long n) {
  for (long g = 0; g < n / 32; g++) {
    float d = single(x[g].d);
    for (int i = 0; i < 32; i++) y[32 * g + i] = x[g].q[i] * d;
  }
}

typedef struct {
  uint16_t d;
  uint8_t q[16];
} __attribute__((packed)) q4_0_t;

void encode_q4_0(in_t x, q4_0_t *restrict y, long n) {
  for (long g = 0; g < n / 32; g++) {
    float largest = 0, max = 0;
    for (int i = 0; i < 32; i++) {
      float v = x[32 * g + i];
      if (fabsf(v) > largest) {
        largest = fabsf(v);
        max = v;
      }
    }
    float d = max / -8, id = d != 0 ? 1 / d : 0;
    y[g].d = half(d);
    for (int i = 0; i < 16; i++) {
      int a = (int)(x[32 * g + i] * id + 8.5f), b = (int)(x[32 * g + 16 + i] * id + 8.5f);
      y[g].q[i] = (uint8_t)((a < 15 ? a : 15) | (b < 15 ? b : 15) << 4);
    }
  }
}

void decode_q4_0(const q4_0_t *restrict x, out_t y, long n) {
  for (long g = 0; g < n / 32; g++) {
    float d = single(x[g].d);
    for (int i = 0; i < 16; i++) {
      y[32 * g + i] = ((x[g].q[i] & 15) - 8) * d;
      y[32 * g + 16 + i] = ((x[g].q[i] >> 4) - 8) * d;
    }
  }
}

typedef struct {
  float absmax;
  int8_t q[256];
} __attribute__((packed)) q8_linear_t;

void encode_q8_linear(in_t x, q8_linear_t *restrict y, long n) {
  for (long g = 0; g < n / 256; g++) {
    uint32_t largest = 0;
    for (int i = 0; i < 256; i++) {
      uint32_t u = bits(x[256 * g + i]) & 0x7fffffff;
      largest = u > largest ? u : largest;
    }
    float absmax = value(largest), factor = absmax != 0 ? 127 / absmax : 0;
    y[g].absmax = absmax;
    for (int i = 0; i < 256; i++) y[g].q[i] = (int8_t)(int)rintf(x[256 * g + i] * factor);
  }
}

void decode_q8_linear(const q8_linear_t *restrict x, out_t y, long n) {
  for (long g = 0; g < n / 256; g++) {
    float scale = x[g].absmax / 127;
    for (int i = 0; i < 256; i++) y[256 * g + i] = x[g].q[i] * scale;
  }
}

typedef struct {
  float scale;
  uint8_t q[256];
} __attribute__((packed)) fp8_t;

void encode_fp8_e4m3(in_t x, fp8_t *restrict y, long n) {
  for (long g = 0; g < n / 256; g++) {
    uint32_t largest = 0;
    for (int i = 0; i < 256; i++) {
      uint32_t u = bits(x[256 * g + i]) & 0x7fffffff;
      largest = u > largest ? u : largest;
    }
    uint32_t scale = (largest + 0x1fffff) & 0x7f800000;
    scale = scale < 9 << 23 ? 1 << 23 : scale - (8 << 23);
    float inverse = value((254 << 23) - scale);
    y[g].scale = value(scale);
    for (int i = 0; i < 256; i++) {
      uint32_t u = bits(x[256 * g + i] * inverse), m = u & 0x7fffffff;
      uint32_t normal = (m - (120 << 23) + 0x7ffff + ((m >> 20) & 1)) >> 20;
      uint32_t small = bits(value(m) + 16384.0f) - 0x46800000;
      y[g].q[i] = (uint8_t)((m < 121 << 23 ? small : normal) | (u >> 24 & 0x80));
    }
  }
}

void decode_fp8_e4m3(const fp8_t *restrict x, out_t y, long n) {
  for (long g = 0; g < n / 256; g++) {
    float scale = x[g].scale;
    for (int i = 0; i < 256; i++) {
      uint32_t q = x[g].q[i];
      float v = value((q & 0x7f) << 20) * 0x1p120f;
      y[256 * g + i] = value(bits(v) | (q & 0x80) << 24) * scale;
    }
  }
}

static const float NF4[16] = {
    -1.0f, -0.6961928009986877f, -0.5250730514526367f, -0.39491748809814453f,
    -0.28444138169288635f, -0.18477343022823334f, -0.09105003625154495f, 0.0f,
    0.07958029955625534f, 0.16093020141124725f, 0.24611230194568634f, 0.33791524171829224f,
    0.44070982933044434f, 0.5626170039176941f, 0.7229568362236023f, 1.0f};

typedef struct {
  float absmax;
  uint8_t q[32];
} __attribute__((packed)) nf4_t;

static inline uint32_t nf4(float x) {
  uint32_t q = 0;
  for (int i = 0; i < 15; i++) q += x > (NF4[i] + NF4[i + 1]) / 2;
  return q;
}

void encode_nf4(in_t x, nf4_t *restrict y, long n) {
  for (long g = 0; g < n / 64; g++) {
    float largest = 0;
    for (int i = 0; i < 64; i++) largest = fmaxf(largest, fabsf(x[64 * g + i]));
    float inverse = largest != 0 ? 1 / largest : 0;
    y[g].absmax = largest;
    for (int i = 0; i < 32; i++)
      y[g].q[i] = (uint8_t)(nf4(x[64 * g + 2 * i] * inverse) << 4 | nf4(x[64 * g + 2 * i + 1] * inverse));
  }
}

void decode_nf4(const nf4_t *restrict x, out_t y, long n) {
  for (long g = 0; g < n / 64; g++)
    for (int i = 0; i < 32; i++) {
      y[64 * g + 2 * i] = NF4[x[g].q[i] >> 4] * x[g].absmax;
      y[64 * g + 2 * i + 1] = NF4[x[g].q[i] & 15] * x[g].absmax;
    }
}

/* w, g and the two slots lie in one piece of memory, n elements each. */
void step_sgd(out_t w, in_t g, long n) {
  const float lr = 1e-3f;
  for (long i = 0; i < n; i++) w[i] -= lr * g[i];
}

void step_adam(out_t w, in_t g, long n) {
  const float gain1 = 0.1f, beta2 = 0.999f, gain2 = 0.001f, size = 1.6e-3f, root2 = 0.05f, eps = 1e-8f;
  out_t m = w + 2 * n, v = w + 3 * n;
  for (long i = 0; i < n; i++) {
    float d = g[i];
    m[i] += gain1 * (d - m[i]);
    v[i] = beta2 * v[i] + gain2 * d * d;
    w[i] -= size * m[i] / (sqrtf(v[i]) / root2 + eps);
  }
}

void step_adagrad(out_t w, in_t g, long n) {
  const float size = 1e-2f, eps = 1e-10f;
  out_t a = w + 2 * n;
  for (long i = 0; i < n; i++) {
    a[i] += g[i] * g[i];
    w[i] -= size * g[i] / (sqrtf(a[i]) + eps);
  }
}

void step_rmsprop(out_t w, in_t g, long n) {
  const float lr = 1e-2f, alpha = 0.99f, gain = 0.01f, eps = 1e-8f;
  out_t v = w + 2 * n;
  for (long i = 0; i < n; i++) {
    v[i] = alpha * v[i] + gain * g[i] * g[i];
    w[i] -= lr * g[i] / (sqrtf(v[i]) + eps);
  }
}

void step_adadelta(out_t w, in_t g, long n) {
  const float lr = 1, rho = 0.9f, gain = 0.1f, eps = 1e-6f;
  out_t v = w + 2 * n, a = w + 3 * n;
  for (long i = 0; i < n; i++) {
    v[i] = rho * v[i] + gain * g[i] * g[i];
    float u = sqrtf(a[i] + eps) / sqrtf(v[i] + eps) * g[i];
    a[i] = rho * a[i] + gain * u * u;
    w[i] -= lr * u;
  }
}

void step_ftrl(out_t w, in_t g, long n) {
  const float alpha = 0.1f, beta = 1, l1 = 0, l2 = 0;
  out_t z = w + 2 * n, s = w + 3 * n;
  for (long i = 0; i < n; i++) {
    float sum = s[i] + g[i] * g[i];
    z[i] += g[i] - (sqrtf(sum) - sqrtf(s[i])) / alpha * w[i];
    s[i] = sum;
    float pull = z[i] > 0 ? l1 - z[i] : -l1 - z[i];
    w[i] = fabsf(z[i]) <= l1 ? 0 : pull / ((beta + sqrtf(sum)) / alpha + l2);
  }
}

void step_lion(out_t w, in_t g, long n) {
  const float lr = 1e-4f, beta1 = 0.9f, beta2 = 0.99f;
  out_t m = w + 2 * n;
  for (long i = 0; i < n; i++) {
    float c = beta1 * m[i] + (1 - beta1) * g[i];
    w[i] -= lr * (c > 0 ? 1.0f : c < 0 ? -1.0f : 0.0f);
    m[i] = beta2 * m[i] + (1 - beta2) * g[i];
  }
}

void step_lamb(out_t w, in_t g, long n) {
  const float gain1 = 0.1f, beta2 = 0.999f, gain2 = 0.001f, correction1 = 1, root2 = 0.3f, eps = 1e-6f;
  const float rate = 1e-3f, decay = 0.01f;
  out_t m = w + 2 * n, v = w + 3 * n;
  for (long i = 0; i < n; i++) {
    float d = g[i];
    m[i] += gain1 * (d - m[i]);
    v[i] = beta2 * v[i] + gain2 * d * d;
    w[i] -= rate * (m[i] / correction1 / (sqrtf(v[i]) / root2 + eps) + decay * w[i]);
  }
}

/* A whole step of Adam whose slots are float8: decode, step, encode with random rounding, group by group. */
static inline uint32_t mix32(uint32_t h) {
  h = (h ^ h >> 16) * 0x85ebca6bu;
  h = (h ^ h >> 13) * 0xc2b2ae35u;
  return h ^ h >> 16;
}

static inline uint32_t random20(uint32_t low, uint32_t high, uint32_t i) { return mix32(mix32(i + low) ^ high) >> 12; }

typedef struct {
  uint16_t base;
  uint8_t q[256];
} __attribute__((packed)) float8_t;

static inline void encode_unsigned(const float *restrict x, float8_t *restrict y, uint32_t first) {
  uint32_t largest = 0;
  for (int i = 0; i < 256; i++) {
    uint32_t m = bits(x[i]) & 0x7fffffff;
    largest = m > largest ? m : largest;
  }
  int32_t base = (int32_t)(largest >> 20) + 1 - 255;
  base = base < 0 ? 0 : base;
  y->base = (uint16_t)base;
  for (int i = 0; i < 256; i++) {
    uint32_t m = bits(x[i]) & 0x7fffffff;
    int32_t code = (int32_t)((m + random20(1, 2, first + i)) >> 20);
    code = (code < 0x7f7 ? code : 0x7f7) - base;
    code = m < (uint32_t)(base + 1) << 20 ? 1 : code;
    y->q[i] = (uint8_t)(m == 0 ? 0 : code);
  }
}

static inline void encode_signed(const float *restrict x, float8_t *restrict y, uint32_t first) {
  uint32_t largest = 0;
  for (int i = 0; i < 256; i++) {
    uint32_t m = bits(x[i]) & 0x7fffffff;
    largest = m > largest ? m : largest;
  }
  int32_t base = (int32_t)(largest >> 20) + 1 - 127;
  base = base < 0 ? 0 : base;
  y->base = (uint16_t)base;
  float smallest = value((uint32_t)(base + 1) << 20), inverse = 1 / smallest;
  for (int i = 0; i < 256; i++) {
    uint32_t u = bits(x[i]), m = u & 0x7fffffff, random = random20(3, 4, first + i);
    int32_t code = (int32_t)((m + random) >> 20);
    code = (code < 0x7f7 ? code : 0x7f7) - base;
    int32_t rare = (float)(int32_t)random * 0x1p-20f < value(m) * inverse;
    code = m < (uint32_t)(base + 1) << 20 ? rare : code;
    y->q[i] = (uint8_t)(code | (code != 0 ? u >> 24 & 0x80 : 0));
  }
}

void step_adam_float8(out_t w, in_t g, long n) {
  const float gain1 = 0.1f, beta2 = 0.999f, gain2 = 0.001f, size = 1.6e-3f, root2 = 0.05f, eps = 1e-8f;
  float8_t *restrict m8 = (float8_t *)(w + 2 * n), *restrict v8 = m8 + n / 256;
  for (long k = 0; k < n / 256; k++) {
    float m[256], v[256], *restrict wk = w + 256 * k;
    const float *restrict gk = g + 256 * k;
    uint32_t m_base = m8[k].base, v_base = v8[k].base;
    for (int i = 0; i < 256; i++) {
      uint32_t q = m8[k].q[i], c = q & 0x7f;
      m[i] = value(c == 0 ? 0 : (c + m_base) << 20 | (q & 0x80) << 24);
    }
    for (int i = 0; i < 256; i++) {
      uint32_t u = v8[k].q[i];
      v[i] = value(u == 0 ? 0 : (u + v_base) << 20);
    }
    for (int i = 0; i < 256; i++) {
      float d = gk[i];
      m[i] += gain1 * (d - m[i]);
      v[i] = beta2 * v[i] + gain2 * d * d;
      wk[i] -= size * m[i] / (sqrtf(v[i]) / root2 + eps);
    }
    encode_signed(m, m8 + k, (uint32_t)(256 * k));
    encode_unsigned(v, v8 + k, (uint32_t)(256 * k));
  }
}
