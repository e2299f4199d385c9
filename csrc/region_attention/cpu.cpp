// Both passes keep a tile's queries in the lanes of vectors and its keys in rows: logits, weights
// and outputs lie transposed, (keys or channels) x queries. Then the softmax's maxima and sums need
// no step across lanes, keys and values enter the products as scalars and need no transposing, and
// one routine, tiles.h's product(), serves all matrix products.
#include <cmath>
#include <limits>
#include <vector>

#include "common/parallel.h"
#include "common/tensor.h"
#include "region_attention/contract.h"
#include "region_attention/math.h"
#include "region_attention/tiles.h"

namespace motion_lab::region_attention::MOTION_LAB_ISA {
namespace {

constexpr int64_t kQueries = 64;  // of a tile: the lanes
constexpr int64_t kKeys = 64;     // of a tile: the rows
constexpr double kLog2E = 1.4426950408889634074;
constexpr double kLn2 = 0.69314718055994530942;

int64_t tiles_of(int64_t length, int64_t tile) { return (length + tile - 1) / tile; }

template <class T>
T* row_of(const Tensor& x, int64_t batch, int64_t head) {
  return x.as<T>() + batch * x.stride[0] + head * x.stride[1];
}

// One head's words, tile by tile.
struct Words {
  const int64_t* data;
  int64_t stride;

  Words(const Tensor& regions, int64_t batch)
      : data(regions.as<const int64_t>() + batch * regions.stride[0]), stride(regions.stride[1]) {}
  uint64_t operator()(int64_t token) const { return static_cast<uint64_t>(data[token * stride]); }
  TileWords tile(int64_t begin, int64_t count) const {
    TileWords words;
    for (int64_t i = begin; i < begin + count; ++i) words.add((*this)(i));
    return words;
  }
};

// Unions and intersections of every tile of keys, (batch, tile).
std::vector<TileWords> class_keys(const Tensor& regions) {
  const int64_t length = regions.size[1], tiles = tiles_of(length, kKeys);
  std::vector<TileWords> classes(static_cast<size_t>(regions.size[0] * tiles));
  for (int64_t b = 0; b < regions.size[0]; ++b)
    for (int64_t t = 0; t < tiles; ++t)
      classes[static_cast<size_t>(b * tiles + t)] =
          Words(regions, b).tile(t * kKeys, std::min(kKeys, length - t * kKeys));
  return classes;
}

// A tile of queries: its lanes, their words, and which pairs with a key they allow.
template <class T>
struct QueryTile {
  int64_t begin, count, lanes;  // lanes: count rounded up to whole vectors
  TileWords words;
  uint64_t word[kQueries] = {};
  alignas(64) typename Lanes<T>::Bits allowed[kQueries];
  uint64_t allowed_by = 0;

  QueryTile(const Words& regions, int64_t begin_, int64_t length)
      : begin(begin_),
        count(std::min(kQueries, length - begin_)),
        lanes(round_to_vector<T>(count)),
        words(regions.tile(begin, count)) {
    for (int64_t i = 0; i < count; ++i) word[i] = regions(begin + i);
    allow(0);
  }

  // All ones in the lanes that share a bit with the key. Neighbouring keys often lie in the same
  // regions, so the last key's answer is kept.
  const Mask<T>* mask(uint64_t key) {
    if (key != allowed_by) allow(key);
    return reinterpret_cast<const Mask<T>*>(allowed);
  }

 private:
  void allow(uint64_t key) {
    for (int64_t i = 0; i < kQueries; ++i) allowed[i] = (word[i] & key) != 0 ? -1 : 0;
    allowed_by = key;
  }
};

// Queries or their gradients as lanes: (channel, lane), zero in the lanes past the last query.
template <class In, class T>
void pack_lanes(T* to, T* rows, int64_t width, const In* from, const int64_t* stride,
                const QueryTile<T>& queries, int64_t channels, T factor) {
  pack_rows<In, T>(rows, width, from + queries.begin * stride[2], stride[2], stride[3],
                   queries.count, channels);
  transpose<T>(to, kQueries, rows, width, queries.count, channels, factor);
}

// The running softmax of a tile of queries, in base 2.
template <class T>
struct Softmax {
  alignas(64) T top[kQueries], sum[kQueries], shrink[kQueries];

  Softmax() {
    std::fill_n(top, kQueries, -std::numeric_limits<T>::infinity());
    std::fill_n(sum, kQueries, T{0});
  }

  // Turns a tile of logits into weights relative to the new maxima; `shrink` becomes the factor
  // that makes what was accumulated before relative to them.
  template <class AllowedBy>
  void add(T* logits, int64_t keys, int64_t lanes, AllowedBy&& allowed) {
    constexpr int W = Lanes<T>::width;
    const Vector<T> none = splat(-std::numeric_limits<T>::infinity());
    const int64_t vectors = lanes / W;
    Vector<T> tops[kQueries / W];
    for (int64_t n = 0; n < vectors; ++n) tops[n] = load(top + n * W);
    for (int64_t j = 0; j < keys; ++j) {
      const Mask<T>* mask = allowed(j);
      for (int64_t n = 0; n < vectors; ++n) {
        T* at = logits + j * kQueries + n * W;
        Vector<T> logit = load(at);
        if (mask) store(at, logit = mask[n] ? logit : none);
        tops[n] = larger<T>(logit, tops[n]);
      }
    }
    for (int64_t n = 0; n < vectors; ++n) {
      // Lanes that have met no key yet: -inf minus -inf would be NaN.
      const Vector<T> base = tops[n] == none ? Vector<T>{} : tops[n];
      const Vector<T> factor = exp2(load(top + n * W) - base);
      Vector<T> total = load(sum + n * W) * factor;
      for (int64_t j = 0; j < keys; ++j) {
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
void forward_tile(const Forward& call, const std::vector<TileWords>& key_classes, int64_t batch,
                  int64_t head, int64_t tile) {
  using T = compute_t<In>;
  const int64_t size = call.q.size[3], q_length = call.q.size[2], k_length = call.k.size[2];
  const int64_t kv_head = head / (call.q.size[1] / call.k.size[1]);
  const int64_t width = round_to_vector<T>(size), key_tiles = tiles_of(k_length, kKeys);

  thread_local Workspace<T> workspace;
  T* lanes = workspace.reserve(2 * size * kQueries + kKeys * (2 * width + kQueries));
  T* out = lanes + size * kQueries;
  T* keys = out + size * kQueries;
  T* values = keys + kKeys * width;
  T* weights = values + kKeys * width;

  QueryTile<T> queries(Words(call.q_regions, batch), tile * kQueries, q_length);
  const Words key_words(call.k_regions, batch);
  pack_lanes<In, T>(lanes, keys, width, row_of<const In>(call.q, batch, head), call.q.stride,
                    queries, size, static_cast<T>(call.scale * kLog2E));
  std::fill_n(out, size * kQueries, T{0});
  Softmax<T> softmax;

  for (int64_t t = 0; t < key_tiles; ++t) {
    const int64_t begin = t * kKeys, count = std::min(kKeys, k_length - begin);
    const auto kind =
        classify(queries.words, key_classes[static_cast<size_t>(batch * key_tiles + t)]);
    if (kind == TileClass::empty) continue;
    const auto pack = [&](T* to, const Tensor& x) {
      pack_rows<In, T>(to, width, row_of<const In>(x, batch, kv_head) + begin * x.stride[2],
                       x.stride[2], x.stride[3], count, size);
    };
    pack(keys, call.k);
    pack(values, call.v);
    product<T, Old::dropped>(count, queries.lanes, size, keys, width, 1, lanes, kQueries, weights,
                             kQueries);
    softmax.add(weights, count, queries.lanes, [&](int64_t j) -> const Mask<T>* {
      return kind == TileClass::full ? nullptr : queries.mask(key_words(begin + j));
    });
    product<T, Old::scaled>(size, queries.lanes, count, values, 1, width, weights, kQueries, out,
                            kQueries, softmax.shrink);
  }

  In* to = row_of<In>(call.out, batch, head);
  T* lse = row_of<T>(call.lse, batch, head);
  T* saved = row_of<T>(call.softmax, batch, head);
  for (int64_t i = 0; i < queries.count; ++i) {
    const T sum = softmax.sum[i], share = sum == T{0} ? T{0} : T{1} / sum;
    const int64_t token = queries.begin + i;
    In* row = to + token * call.out.stride[2];
    for (int64_t d = 0; d < size; ++d)
      row[d * call.out.stride[3]] = static_cast<In>(out[d * kQueries + i] * share);
    const T infinity = std::numeric_limits<T>::infinity();
    const T top = softmax.top[i] * static_cast<T>(kLn2);
    lse[token * call.lse.stride[2]] = sum == T{0} ? -infinity : top + std::log(sum);
    // With +inf for the largest logit the backward's weights of a query without keys are zero.
    saved[token * call.softmax.stride[2]] = sum == T{0} ? infinity : softmax.top[i];
    saved[token * call.softmax.stride[2] + call.softmax.stride[3]] = share;
  }
}

// The backward of one part of the query tiles of all heads that read one key head.
template <class In>
class BackwardPart {
  using T = compute_t<In>;

 public:
  BackwardPart(const Backward& call, int64_t batch, int64_t kv_head, T* grad_keys, T* grad_values)
      : call_(call),
        batch_(batch),
        kv_head_(kv_head),
        size_(call.q.size[3]),
        width_(round_to_vector<T>(size_)),
        k_length_(call.k.size[2]),
        grad_keys_(grad_keys),
        grad_values_(grad_values),
        key_words_(call.k_regions, batch) {
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
      pack_rows<In, T>(to, width_, row_of<const In>(x, batch, kv_head), x.stride[2], x.stride[3],
                       k_length_, size_);
    };
    pack(keys_, call.k);
    pack(values_, call.v);
    std::fill_n(grad_keys_, k_length_ * width_, T{0});
    std::fill_n(grad_values_, k_length_ * width_, T{0});
  }

  void add(const std::vector<TileWords>& key_classes, int64_t head, int64_t tile) {
    QueryTile<T> queries(Words(call_.q_regions, batch_), tile * kQueries, call_.q.size[2]);
    pack_lanes<In, T>(query_lanes_, query_rows_, width_, row_of<const In>(call_.q, batch_, head),
                      call_.q.stride, queries, size_, static_cast<T>(call_.scale * kLog2E));
    pack_lanes<In, T>(grad_lanes_, grad_rows_, width_,
                      row_of<const In>(call_.grad_out, batch_, head), call_.grad_out.stride,
                      queries, size_, T{1});
    read_rows(queries, head);
    std::fill_n(grad_queries_, size_ * kQueries, T{0});
    const int64_t key_tiles = tiles_of(k_length_, kKeys);
    for (int64_t t = 0; t < key_tiles; ++t) {
      const auto kind =
          classify(queries.words, key_classes[static_cast<size_t>(batch_ * key_tiles + t)]);
      if (kind == TileClass::empty) continue;
      add_pairs(queries, t * kKeys, std::min(kKeys, k_length_ - t * kKeys), kind);
    }
    const int64_t* stride = call_.grad_q.stride;
    In* to = row_of<In>(call_.grad_q, batch_, head) + queries.begin * stride[2];
    const T scale = static_cast<T>(call_.scale);
    for (int64_t i = 0; i < queries.count; ++i)
      for (int64_t d = 0; d < size_; ++d)
        to[i * stride[2] + d * stride[3]] =
            static_cast<In>(grad_queries_[d * kQueries + i] * scale);
  }

 private:
  // Each query's softmax, and its sum of weight * weight's gradient, which equals
  // out · grad_out - grad_lse.
  void read_rows(const QueryTile<T>& queries, int64_t head) {
    std::fill_n(top_, kQueries, std::numeric_limits<T>::infinity());
    std::fill_n(share_, kQueries, T{0});
    std::fill_n(inner_, kQueries, T{0});
    const T* softmax = row_of<const T>(call_.softmax, batch_, head);
    const In* out = row_of<const In>(call_.out, batch_, head);
    for (int64_t i = 0; i < queries.count; ++i) {
      const int64_t token = queries.begin + i;
      top_[i] = softmax[token * call_.softmax.stride[2]];
      share_[i] = softmax[token * call_.softmax.stride[2] + call_.softmax.stride[3]];
      const In* row = out + token * call_.out.stride[2];
      for (int64_t d = 0; d < size_; ++d)
        inner_[i] += static_cast<T>(row[d * call_.out.stride[3]]) * grad_rows_[i * width_ + d];
      if (call_.grad_lse && share_[i] != T{0})
        inner_[i] -=
            row_of<const T>(call_.grad_lse, batch_, head)[token * call_.grad_lse.stride[2]];
    }
  }

  void add_pairs(QueryTile<T>& queries, int64_t begin, int64_t count, TileClass kind) {
    constexpr int W = Lanes<T>::width;
    const T* keys = keys_ + begin * width_;
    const T* values = values_ + begin * width_;
    product<T, Old::dropped>(count, queries.lanes, size_, keys, width_, 1, query_lanes_, kQueries,
                             weights_, kQueries);
    product<T, Old::dropped>(count, queries.lanes, size_, values, width_, 1, grad_lanes_, kQueries,
                             grad_logits_, kQueries);
    for (int64_t j = 0; j < count; ++j) {
      const Mask<T>* mask = kind == TileClass::full ? nullptr : queries.mask(key_words_(begin + j));
      for (int64_t n = 0; n < queries.lanes / W; ++n) {
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
    product<T, Old::kept>(size_, queries.lanes, count, keys, 1, width_, grad_logits_, kQueries,
                          grad_queries_, kQueries);
    product<T, Old::kept>(count, width_, queries.count, weights_, kQueries, 1, grad_rows_, width_,
                          grad_values_ + begin * width_, width_);
    product<T, Old::kept>(count, width_, queries.count, grad_logits_, kQueries, 1, query_rows_,
                          width_, grad_keys_ + begin * width_, width_);
  }

  const Backward& call_;
  int64_t batch_, kv_head_, size_, width_, k_length_;
  T *grad_keys_, *grad_values_;  // (Lk, width), summed over the part's queries
  Words key_words_;
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
void write_grad(const Tensor& grad, int64_t batch, int64_t head, const T* sums, int64_t parts,
                int64_t part_stride, int64_t width, T factor) {
  In* to = row_of<In>(grad, batch, head);
  for (int64_t j = 0; j < grad.size[2]; ++j)
    for (int64_t d = 0; d < grad.size[3]; ++d) {
      T sum{0};
      for (int64_t part = 0; part < parts; ++part) sum += sums[part * part_stride + j * width + d];
      to[j * grad.stride[2] + d * grad.stride[3]] = static_cast<In>(sum * factor);
    }
}

template <class In>
void backward_as(const Backward& call, int threads) {
  using T = compute_t<In>;
  const int64_t batches = call.q.size[0], kv_heads = call.k.size[1], k_length = call.k.size[2];
  const int64_t key_heads = batches * kv_heads;
  if (key_heads == 0) return;
  const int64_t group = call.q.size[1] / kv_heads, tiles = tiles_of(call.q.size[2], kQueries);
  // Key heads keep the threads busy where there are enough; else their queries are cut in parts.
  const int64_t parts = std::clamp<int64_t>((threads + key_heads - 1) / key_heads, 1,
                                            std::max<int64_t>(group * tiles, 1));
  const int64_t width = round_to_vector<T>(call.q.size[3]), sums = k_length * width;
  const auto key_classes = class_keys(call.k_regions);

  const auto add_part = [&](int64_t key_head, int64_t part, T* into) {
    BackwardPart<In> work(call, key_head / kv_heads, key_head % kv_heads, into, into + sums);
    const int64_t units = group * tiles;
    for (int64_t unit = part * units / parts; unit < (part + 1) * units / parts; ++unit)
      work.add(key_classes, key_head % kv_heads * group + unit / tiles, unit % tiles);
  };
  const auto write = [&](int64_t key_head, const T* from) {
    const int64_t batch = key_head / kv_heads, head = key_head % kv_heads;
    write_grad<In, T>(call.grad_k, batch, head, from, parts, 2 * sums, width,
                      static_cast<T>(call.scale));
    write_grad<In, T>(call.grad_v, batch, head, from + sums, parts, 2 * sums, width, T{1});
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

void forward(const Forward& call, int threads) {
  const auto key_classes = class_keys(call.k_regions);
  const int64_t tiles = tiles_of(call.q.size[2], kQueries), heads = call.q.size[1];
  dispatch_floating(call.q.dtype, [&](auto type) {
    parallel_for(call.q.size[0] * heads * tiles, threads, [&](int64_t i) {
      forward_tile<decltype(type)>(call, key_classes, i / tiles / heads, i / tiles % heads,
                                   i % tiles);
    });
  });
}

void backward(const Backward& call, int threads) {
  dispatch_floating(call.q.dtype, [&](auto type) { backward_as<decltype(type)>(call, threads); });
}

}  // namespace motion_lab::region_attention::MOTION_LAB_ISA
