// The forward pass on the CPU; see cpu_tiles.h for how tiles lie.
#include "region_attention/cpu_tiles.h"

namespace motion_lab::region_attention::MOTION_LAB_ISA {
namespace {

// The running softmax of a tile of queries, in base 2.
template <class T>
struct Softmax {
  alignas(64) T top[kQueries], sum[kQueries], shrink[kQueries];

  Softmax() {
    std::fill_n(top, kQueries, -std::numeric_limits<T>::infinity());
    std::fill_n(sum, kQueries, T{0});
  }

  // Turns the logits of a part of a tile into weights relative to the new maxima; `shrink` becomes
  // the factor that makes what was accumulated before relative to them.
  template <class AllowedBy>
  void add(T* logits, const Pairs& pairs, AllowedBy&& allowed) {
    constexpr int W = Lanes<T>::width;
    const int64_t first = pairs.lane / W, end = first + pairs.lanes / W;
    const Vector<T> none = splat(-std::numeric_limits<T>::infinity());
    Vector<T> tops[kQueries / W];
    for (int64_t n = first; n < end; ++n) tops[n] = load(top + n * W);
    for (int64_t j = 0; j < pairs.keys; ++j) {
      const Mask<T>* mask = allowed(j);
      for (int64_t n = first; n < end; ++n) {
        T* at = logits + j * kQueries + n * W;
        Vector<T> logit = load(at);
        if (mask) store(at, logit = mask[n] ? logit : none);
        tops[n] = larger<T>(logit, tops[n]);
      }
    }
    for (int64_t n = first; n < end; ++n) {
      // Lanes that have met no key yet: -inf minus -inf would be NaN.
      const Vector<T> base = tops[n] == none ? Vector<T>{} : tops[n];
      const Vector<T> factor = exp2(load(top + n * W) - base);
      Vector<T> total = load(sum + n * W) * factor;
      for (int64_t j = 0; j < pairs.keys; ++j) {
        T* at = logits + j * kQueries + n * W;
        const Vector<T> weight = exp2(load(at) - base);
        store(at, weight);
        total += weight;
      }
      store(sum + n * W, total);
      store(top + n * W, tops[n]);
      store(shrink + n * W, factor);
    }
  }
};

template <class In>
void forward_tile(const Inputs& inputs, const Outputs& outputs,
                  const std::vector<TileWords>& key_classes, int64_t batch, int64_t head,
                  int64_t tile) {
  using T = compute_t<In>;
  const int64_t size = inputs.q.size[3], q_length = inputs.q.size[2], k_length = inputs.k.size[2];
  const int64_t kv_head = head / (inputs.q.size[1] / inputs.k.size[1]);
  const int64_t width = round_to_vector<T>(size), key_tiles = tiles_of(k_length, kKeys);

  thread_local Workspace<T> workspace;
  T* lanes = workspace.reserve(2 * size * kQueries + kKeys * (2 * width + kQueries));
  T* out = lanes + size * kQueries;
  T* key_room = out + size * kQueries;
  T* value_room = key_room + kKeys * width;
  T* weights = value_room + kKeys * width;

  QueryTile<T> queries(Tokens(inputs.q_regions, inputs.q_order, batch), tile * kQueries, q_length);
  const Tokens key_tokens(inputs.k_regions, inputs.k_order, batch);
  pack_lanes<In, T>(lanes, key_room, width, Rows<const In>(inputs.q, batch, head), queries, size,
                    static_cast<T>(inputs.scale * kLog2E));
  std::fill_n(out, size * kQueries, T{0});
  Softmax<T> softmax;

  for (int64_t t = 0; t < key_tiles; ++t) {
    const TileWords& key_words = key_classes[static_cast<size_t>(batch * key_tiles + t)];
    const auto kind = classify(queries.words, key_words);
    if (kind == TileClass::empty) continue;
    const Pairs pairs = queries.pairs_in_tile(kind, key_tokens, t, key_words);
    // Tokens that lie as packing would lay them are read where they are.
    const auto rows_of = [&](const Tensor& x, T* room) -> const T* {
      const Rows<const In> from(x, batch, kv_head);
      if constexpr (std::is_same_v<In, T>)
        if (from.stride == 1 && from.token_stride == width && !key_tokens.order)
          return from[pairs.key];
      pack_tokens<In, T>(room, width, from, key_tokens, pairs.key, pairs.keys, size);
      return room;
    };
    const T* keys = rows_of(inputs.k, key_room);
    const T* values = rows_of(inputs.v, value_room);
    product<T, Old::dropped>(pairs.keys, pairs.lanes, size, keys, width, 1, lanes + pairs.lane,
                             kQueries, weights + pairs.lane, kQueries);
    softmax.add(weights, pairs, [&](int64_t j) -> const Mask<T>* {
      return kind == TileClass::full ? nullptr : queries.mask(key_tokens.word(pairs.key + j));
    });
    product<T, Old::scaled>(size, pairs.lanes, pairs.keys, values, 1, width, weights + pairs.lane,
                            kQueries, out + pairs.lane, kQueries, softmax.shrink + pairs.lane);
  }

  T* lse = outputs.lse.as<T>() + batch * outputs.lse.stride[0] + head * outputs.lse.stride[1];
  const Rows<T> saved(outputs.softmax, batch, head);
  T shares[kQueries];
  for (int64_t i = 0; i < queries.count; ++i) {
    const T sum = softmax.sum[i], share = sum == T{0} ? T{0} : T{1} / sum;
    const int64_t token = queries.place(i);
    shares[i] = share;
    const T infinity = std::numeric_limits<T>::infinity();
    const T top = softmax.top[i] * static_cast<T>(kLn2);
    lse[token * outputs.lse.stride[2]] = sum == T{0} ? -infinity : top + std::log(sum);
    // With +inf for the largest logit the backward's weights of a query without keys are zero.
    saved[token][0] = sum == T{0} ? infinity : softmax.top[i];
    saved[token][saved.stride] = share;
  }
  unpack_lanes<In, T>(Rows<In>(outputs.out, batch, head), queries, out, size, shares, key_room,
                      width);
}

}  // namespace

void forward(const Inputs& inputs, const Outputs& outputs, int threads) {
  const auto key_classes = class_keys(inputs);
  const int64_t tiles = tiles_of(inputs.q.size[2], kQueries), heads = inputs.q.size[1];
  dispatch_floating(inputs.q.dtype, [&](auto type) {
    parallel_for(inputs.q.size[0] * heads * tiles, threads, [&](int64_t i) {
      forward_tile<decltype(type)>(inputs, outputs, key_classes, i / tiles / heads,
                                   i / tiles % heads, i % tiles);
    });
  });
}

}  // namespace motion_lab::region_attention::MOTION_LAB_ISA
