// What both passes of the CPU kernels share: tokens in their order, and tiles of them.
//
// Both passes keep a tile's queries in the lanes of vectors and its keys in rows: logits, weights
// and outputs lie transposed, (keys or channels) x queries. Then the softmax's maxima and sums need
// no step across lanes, keys and values enter the products as scalars and need no transposing, and
// one routine, cpu_products.h's product(), serves all matrix products.
#pragma once

#include <cmath>
#include <limits>
#include <vector>

#include "common/parallel.h"
#include "common/tensor.h"
#include "region_attention/contract.h"
#include "region_attention/cpu_products.h"
#include "region_attention/math.h"

namespace motion_lab::region_attention::MOTION_LAB_ISA {

constexpr int64_t kQueries = 64;  // of a tile: the lanes
constexpr int64_t kKeys = 64;     // of a tile: the rows

inline int64_t tiles_of(int64_t length, int64_t tile) { return (length + tile - 1) / tile; }

inline TileWords words_of(const Tokens& tokens, int64_t begin, int64_t count) {
  TileWords words;
  for (int64_t i = begin; i < begin + count; ++i) words.add(tokens.word(i));
  return words;
}

// One head of a tensor, token by token.
template <class T>
struct Rows {
  T* data;
  int64_t token_stride, stride;  // stride: between the channels

  Rows(const Tensor& x, int64_t batch, int64_t head)
      : data(x.as<T>() + batch * x.stride[0] + head * x.stride[1]),
        token_stride(x.stride[2]),
        stride(x.stride[3]) {}
  T* operator[](int64_t token) const { return data + token * token_stride; }
};

// Unions and intersections of every tile of keys, (batch, tile).
inline std::vector<TileWords> class_keys(const Inputs& inputs) {
  const int64_t batches = inputs.k.size[0], length = inputs.k.size[2];
  const int64_t tiles = tiles_of(length, kKeys);
  std::vector<TileWords> classes(static_cast<size_t>(batches * tiles));
  for (int64_t b = 0; b < batches; ++b) {
    const Tokens keys(inputs.k_regions, inputs.k_order, b);
    for (int64_t t = 0; t < tiles; ++t)
      classes[static_cast<size_t>(b * tiles + t)] =
          words_of(keys, t * kKeys, std::min(kKeys, length - t * kKeys));
  }
  return classes;
}

// A part of a tile of pairs: whole vectors of lanes, and keys that follow each other.
struct Pairs {
  int64_t lane, lanes, key, keys;
};

// A tile of queries: its lanes, their words, and which pairs with a key they allow.
template <class T>
struct QueryTile {
  Tokens tokens;
  int64_t begin, count, lanes;  // lanes: count rounded up to whole vectors
  TileWords words;
  uint64_t word[kQueries] = {};
  alignas(64) typename Lanes<T>::Bits allowed[kQueries];
  uint64_t allowed_by = 0;

  QueryTile(const Tokens& tokens_, int64_t begin_, int64_t length)
      : tokens(tokens_),
        begin(begin_),
        count(std::min(kQueries, length - begin_)),
        lanes(round_to_vector<T>(count)),
        words(words_of(tokens, begin, count)) {
    for (int64_t i = 0; i < count; ++i) word[i] = tokens.word(begin + i);
    allow(0);
  }

  // All pairs with a tile of keys that share a bit, and as few others as leaving out vectors of
  // lanes and keys at either end can do: of sorted tokens most of what a region's border would
  // cost.
  Pairs pairs_in_tile(TileClass kind, const Tokens& keys, int64_t tile,
                      const TileWords& key_words) const {
    constexpr int W = Lanes<T>::width;
    int64_t key = tile * kKeys, key_end = std::min(key + kKeys, keys.length);
    int64_t lane = 0, lane_end = lanes;
    if (kind == TileClass::full) return {lane, lanes, key, key_end - key};
    const auto in_vector = [&](int64_t lane) {
      uint64_t any = 0;
      for (int64_t i = lane; i < lane + W; ++i) any |= word[i];
      return (any & key_words.any) != 0;
    };
    const auto in_key = [&](int64_t j) { return (keys.word(j) & words.any) != 0; };
    while (!in_vector(lane)) lane += W;
    while (!in_vector(lane_end - W)) lane_end -= W;
    while (!in_key(key)) ++key;
    while (!in_key(key_end - 1)) --key_end;
    return {lane, lane_end - lane, key, key_end - key};
  }

  // All ones in the lanes that share a bit with the key. Neighbouring keys often lie in the same
  // regions, so the last key's answer is kept.
  const Mask<T>* mask(uint64_t key) {
    if (key != allowed_by) allow(key);
    return reinterpret_cast<const Mask<T>*>(allowed);
  }

  int64_t place(int64_t i) const { return tokens.place(begin + i); }

 private:
  void allow(uint64_t key) {
    for (int64_t i = 0; i < kQueries; ++i) allowed[i] = (word[i] & key) != 0 ? -1 : 0;
    allowed_by = key;
  }
};

// `count` tokens from `begin` on, converted; the tail of each row up to `width` is zeroed.
template <class In, class T>
void pack_tokens(T* to, int64_t width, const Rows<const In>& from, const Tokens& tokens,
                 int64_t begin, int64_t count, int64_t channels) {
  for (int64_t i = 0; i < count; ++i)
    pack_row<In, T>(to + i * width, width, from[tokens.place(begin + i)], from.stride, channels);
}

// Queries or their gradients as lanes: (channel, lane), zero in the lanes past the last query.
template <class In, class T>
void pack_lanes(T* to, T* rows, int64_t width, const Rows<const In>& from,
                const QueryTile<T>& queries, int64_t channels, T factor) {
  pack_tokens<In, T>(rows, width, from, queries.tokens, queries.begin, queries.count, channels);
  transpose<T>(to, kQueries, rows, width, queries.count, channels, factor);
}

// The reverse: writes lanes (channel, lane) to the queries' rows, each times its lane's factor.
// rows: room for kQueries rows of `width` numbers.
template <class In, class T>
void unpack_lanes(const Rows<In>& to, const QueryTile<T>& queries, const T* lanes, int64_t channels,
                  const T* factors, T* rows, int64_t width) {
  transpose<T>(rows, width, lanes, kQueries, channels, queries.count, T{1});
  for (int64_t i = 0; i < queries.count; ++i) {
    In* row = to[queries.place(i)];
    const T* from = rows + i * width;
    const T factor = factors[i];
    if (to.stride == 1)
      for (int64_t d = 0; d < channels; ++d) row[d] = static_cast<In>(from[d] * factor);
    else
      for (int64_t d = 0; d < channels; ++d) row[d * to.stride] = static_cast<In>(from[d] * factor);
  }
}

}  // namespace motion_lab::region_attention::MOTION_LAB_ISA
