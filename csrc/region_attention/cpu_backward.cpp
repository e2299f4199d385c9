// The backward pass on the CPU; see cpu_tiles.h for how tiles lie.
#include "region_attention/cpu_tiles.h"

namespace motion_lab::region_attention::MOTION_LAB_ISA {
namespace {

// The backward of one part of the query tiles of all heads that read one key head.
template <class In>
class BackwardPart {
  using T = compute_t<In>;

 public:
  BackwardPart(const Inputs& inputs, const Gradients& gradients, int64_t batch, int64_t kv_head,
               T* grad_keys, T* grad_values)
      : inputs_(inputs),
        gradients_(gradients),
        batch_(batch),
        kv_head_(kv_head),
        size_(inputs.q.size[3]),
        width_(round_to_vector<T>(size_)),
        k_length_(inputs.k.size[2]),
        grad_keys_(grad_keys),
        grad_values_(grad_values),
        key_tokens_(inputs.k_regions, inputs.k_order, batch) {
    thread_local Workspace<T> workspace;
    keys_ = workspace.reserve(2 * k_length_ * width_ + 2 * kQueries * width_ +
                              3 * size_ * kQueries + 2 * kKeys * kQueries);
    values_ = keys_ + k_length_ * width_;
    query_rows_ = values_ + k_length_ * width_;
    grad_rows_ = query_rows_ + kQueries * width_;
    weights_ = grad_rows_ + kQueries * width_;
    grad_logits_ = weights_ + kKeys * kQueries;
    query_lanes_ = grad_logits_ + kKeys * kQueries;
    grad_lanes_ = query_lanes_ + size_ * kQueries;
    grad_queries_ = grad_lanes_ + size_ * kQueries;
    const auto pack = [&](T* to, const Tensor& x) {
      pack_tokens<In, T>(to, width_, Rows<const In>(x, batch, kv_head), key_tokens_, 0, k_length_,
                         size_);
    };
    pack(keys_, inputs.k);
    pack(values_, inputs.v);
    std::fill_n(grad_keys_, k_length_ * width_, T{0});
    std::fill_n(grad_values_, k_length_ * width_, T{0});
  }

  void add(const std::vector<TileWords>& key_classes, int64_t head, int64_t tile) {
    QueryTile<T> queries(Tokens(inputs_.q_regions, inputs_.q_order, batch_), tile * kQueries,
                         inputs_.q.size[2]);
    pack_lanes<In, T>(query_lanes_, query_rows_, width_, Rows<const In>(inputs_.q, batch_, head),
                      queries, size_, static_cast<T>(inputs_.scale * kLog2E));
    pack_lanes<In, T>(grad_lanes_, grad_rows_, width_,
                      Rows<const In>(gradients_.grad_out, batch_, head), queries, size_, T{1});
    read_rows(queries, head);
    std::fill_n(grad_queries_, size_ * kQueries, T{0});
    const int64_t key_tiles = tiles_of(k_length_, kKeys);
    for (int64_t t = 0; t < key_tiles; ++t) {
      const TileWords& key_words = key_classes[static_cast<size_t>(batch_ * key_tiles + t)];
      const auto kind = classify(queries.words, key_words);
      if (kind == TileClass::empty) continue;
      add_pairs(queries, queries.pairs_in_tile(kind, key_tokens_, t, key_words), kind);
    }
    T scales[kQueries];
    std::fill_n(scales, kQueries, static_cast<T>(inputs_.scale));
    unpack_lanes<In, T>(Rows<In>(gradients_.grad_q, batch_, head), queries, grad_queries_, size_,
                        scales, query_rows_, width_);
  }

 private:
  // Each query's softmax, and its sum of weight * weight's gradient, which equals
  // out · grad_out - grad_lse.
  void read_rows(const QueryTile<T>& queries, int64_t head) {
    std::fill_n(top_, kQueries, std::numeric_limits<T>::infinity());
    std::fill_n(share_, kQueries, T{0});
    std::fill_n(inner_, kQueries, T{0});
    const Rows<const T> softmax(gradients_.softmax, batch_, head);
    const Rows<const In> out(gradients_.out, batch_, head);
    const Tensor& lse = gradients_.grad_lse;
    for (int64_t i = 0; i < queries.count; ++i) {
      const int64_t token = queries.place(i);
      top_[i] = softmax[token][0];
      share_[i] = softmax[token][softmax.stride];
      for (int64_t d = 0; d < size_; ++d)
        inner_[i] += static_cast<T>(out[token][d * out.stride]) * grad_rows_[i * width_ + d];
      if (lse && share_[i] != T{0})
        inner_[i] -=
            lse.as<T>()[batch_ * lse.stride[0] + head * lse.stride[1] + token * lse.stride[2]];
    }
  }

  void add_pairs(QueryTile<T>& queries, const Pairs& pairs, TileClass kind) {
    constexpr int W = Lanes<T>::width;
    const auto [lane, lanes, key, count] = pairs;
    const int64_t queries_in = std::min(lanes, queries.count - lane);
    const T* keys = keys_ + key * width_;
    const T* values = values_ + key * width_;
    T* weights = weights_ + lane;
    T* grad_logits = grad_logits_ + lane;
    product<T, Old::dropped>(count, lanes, size_, keys, width_, 1, query_lanes_ + lane, kQueries,
                             weights, kQueries);
    product<T, Old::dropped>(count, lanes, size_, values, width_, 1, grad_lanes_ + lane, kQueries,
                             grad_logits, kQueries);
    for (int64_t j = 0; j < count; ++j) {
      const Mask<T>* mask =
          kind == TileClass::full ? nullptr : queries.mask(key_tokens_.word(key + j));
      for (int64_t n = lane / W; n < (lane + lanes) / W; ++n) {
        const int64_t at = j * kQueries + n * W;
        Vector<T> weight = exp2(load(weights_ + at) - load(top_ + n * W)) * load(share_ + n * W);
        Vector<T> grad = weight * (load(grad_logits_ + at) - load(inner_ + n * W));
        if (mask) {
          weight = mask[n] ? weight : Vector<T>{};
          grad = mask[n] ? grad : Vector<T>{};
        }
        store(weights_ + at, weight);
        store(grad_logits_ + at, grad);
      }
    }
    product<T, Old::kept>(size_, lanes, count, keys, 1, width_, grad_logits, kQueries,
                          grad_queries_ + lane, kQueries);
    product<T, Old::kept>(count, width_, queries_in, weights, kQueries, 1,
                          grad_rows_ + lane * width_, width_, grad_values_ + key * width_, width_);
    product<T, Old::kept>(count, width_, queries_in, grad_logits, kQueries, 1,
                          query_rows_ + lane * width_, width_, grad_keys_ + key * width_, width_);
  }

  const Inputs& inputs_;
  const Gradients& gradients_;
  int64_t batch_, kv_head_, size_, width_, k_length_;
  T *grad_keys_, *grad_values_;  // (Lk, width), summed over the part's queries
  Tokens key_tokens_;
  T *keys_, *values_;                             // (Lk, width)
  T *query_rows_, *grad_rows_;                    // (query, width)
  T *query_lanes_, *grad_lanes_, *grad_queries_;  // (channel, query)
  T *weights_, *grad_logits_;                     // (key, query)
  alignas(64) T top_[kQueries];
  alignas(64) T share_[kQueries];
  alignas(64) T inner_[kQueries];
};

// Adds up the parts in their order, so that the result does not depend on which came first.
template <class In, class T>
void write_grad(const Tensor& grad, const Tokens& tokens, int64_t batch, int64_t head,
                const T* sums, int64_t parts, int64_t part_stride, int64_t width, T factor) {
  const Rows<In> to(grad, batch, head);
  for (int64_t j = 0; j < grad.size[2]; ++j)
    for (int64_t d = 0; d < grad.size[3]; ++d) {
      T sum{0};
      for (int64_t part = 0; part < parts; ++part) sum += sums[part * part_stride + j * width + d];
      to[tokens.place(j)][d * to.stride] = static_cast<In>(sum * factor);
    }
}

template <class In>
void backward_as(const Inputs& inputs, const Gradients& gradients, int threads) {
  using T = compute_t<In>;
  const int64_t batches = inputs.q.size[0], kv_heads = inputs.k.size[1],
                k_length = inputs.k.size[2];
  const int64_t key_heads = batches * kv_heads;
  if (key_heads == 0) return;
  const int64_t group = inputs.q.size[1] / kv_heads, tiles = tiles_of(inputs.q.size[2], kQueries);
  // Key heads keep the threads busy where there are enough; else their queries are cut in parts.
  const int64_t parts = std::clamp<int64_t>((threads + key_heads - 1) / key_heads, 1,
                                            std::max<int64_t>(group * tiles, 1));
  const int64_t width = round_to_vector<T>(inputs.q.size[3]), sums = k_length * width;
  const auto key_classes = class_keys(inputs);

  const auto add_part = [&](int64_t key_head, int64_t part, T* into) {
    BackwardPart<In> work(inputs, gradients, key_head / kv_heads, key_head % kv_heads, into,
                          into + sums);
    const int64_t units = group * tiles;
    for (int64_t unit = part * units / parts; unit < (part + 1) * units / parts; ++unit)
      work.add(key_classes, key_head % kv_heads * group + unit / tiles, unit % tiles);
  };
  const auto write = [&](int64_t key_head, const T* from) {
    const int64_t batch = key_head / kv_heads, head = key_head % kv_heads;
    const Tokens tokens(inputs.k_regions, inputs.k_order, batch);
    write_grad<In, T>(gradients.grad_k, tokens, batch, head, from, parts, 2 * sums, width,
                      static_cast<T>(inputs.scale));
    write_grad<In, T>(gradients.grad_v, tokens, batch, head, from + sums, parts, 2 * sums, width,
                      T{1});
  };

  if (parts == 1) {
    parallel_for(key_heads, threads, [&](int64_t key_head) {
      thread_local Workspace<T> workspace;
      T* into = workspace.reserve(2 * sums);
      add_part(key_head, 0, into);
      write(key_head, into);
    });
  } else {
    Workspace<T> workspace;
    T* into = workspace.reserve(key_heads * parts * 2 * sums);
    parallel_for(key_heads * parts, threads,
                 [&](int64_t i) { add_part(i / parts, i % parts, into + i * 2 * sums); });
    parallel_for(key_heads, threads,
                 [&](int64_t key_head) { write(key_head, into + key_head * parts * 2 * sums); });
  }
}

}  // namespace

void backward(const Inputs& inputs, const Gradients& gradients, int threads) {
  dispatch_floating(inputs.q.dtype,
                    [&](auto type) { backward_as<decltype(type)>(inputs, gradients, threads); });
}

}  // namespace motion_lab::region_attention::MOTION_LAB_ISA
