// Sampling on the CPU. The input is packed into blocks of B channels, cell by cell, so that a tap
// is one contiguous row whatever the layout and type. Behind each of its lines of cells along x
// lies a cell of zeros, where the taps outside point, so that infinities at the edge never meet a
// weight of zero; and as lines of 64 or 128 cells then lie at no power of two, cells above each
// other do not drive each other out of a cache. Outputs are made in tiles: positions, then taps,
// then sums over rows.
#include "common/parallel.h"
#include "grid_sample/contract.h"
#include "grid_sample/rows.h"
#include "grid_sample/taps.h"

namespace motion_lab::grid_sample::cpu::MOTION_LAB_ISA {
namespace {

// One call of the op: `B` channels a block, `n` taps along each of `rank` axes.
template <class A, int B, int rank, int n>
class Sampler : Geometry<A, rank> {
  using Base = Geometry<A, rank>;
  using Base::in_size_, Base::as_it_lies_, Base::packed_;
  using Base::params_, Base::outputs_, Base::cells_, Base::out_cells_, Base::mask_;

 public:
  Sampler(const Params& params, int threads)
      : Base(params),
        batch_(params.input.size[0]),
        channels_(params.input.size[1]),
        blocks_((channels_ + B - 1) / B),
        lines_(in_size_[1] * in_size_[2]),
        block_size_((int64_t{packed_.outside} + 2) * B),
        input_(params.input, 2, 1) {
    const int64_t work = batch_ * (cells_ + outputs_ * out_cells_) * channels_;
    threads_ = static_cast<int>(std::clamp<int64_t>(work / kWorkPerThread, 1, threads));
    this->sum_fields(threads_);
  }

  void forward(const Tensor& out) {
    const Plane plane(out, 3, 2);
    for_items([&](const Source& source, int64_t item, int threads) {
      parallel_ranges(outputs_ * tiles_of(out_cells_), threads,
                      [&](int64_t begin, int64_t end, int) {
                        sample_tiles(source, item, begin, end, out, plane);
                      });
    });
  }

  void backward(const Tensor& grad, const Gradients& gradients) {
    if (gradients.input) backward_input(grad, gradients.input);
    if (gradients.coordinates || gradients.weight || gradients.mask)
      backward_positions(grad, gradients);
  }

 private:
  using Taps = cpu::MOTION_LAB_ISA::Taps<A, rank, n>;
  using Rows = cpu::MOTION_LAB_ISA::Rows<A, B, Taps>;
  using Row = typename Rows::Row;
  using Folded = typename Rows::Folded;
  static constexpr int kFolded = Rows::kFolded;
  static constexpr int64_t kWorkPerThread = 1 << 14;

  // The input of one item as rows of B channels: packed, or in place where it lies like that.
  struct Source {
    explicit Source(const Sampler& sampler)
        : s(sampler),
          in_place(s.lies_in_rows()),
          layout(in_place ? s.as_it_lies_ : s.packed_),
          memory(in_place ? s.channels_ : s.blocks_ * s.block_size_),
          pitch(in_place ? s.input_.cell_stride : B),
          block_stride(in_place ? B : s.block_size_) {
      if (in_place) memory.zero(s.channels_);
    }

    void prepare(int64_t item, int threads) {
      const Plane plane = s.input_.at(item * s.params_.input.stride[0]);
      if (in_place) {
        data = reinterpret_cast<const A*>(plane.data);
        return;
      }
      if (data && s.params_.input.stride[0] == 0) return;  // expanded: the item before
      data = memory.data();
      s.for_lines(threads, [&](int64_t block, int64_t line) {
        A* to = memory.data() + block * block_stride + s.start_of_line(line) * B;
        if (line == 0) std::fill_n(to - B, B, A(0));
        s.for_tiles_of_line(line, [&](int64_t first, int64_t x, int count) {
          load_tile<A, B>(plane, block * B, s.in_block(block), first, count, to + x * B);
        });
        const bool last = line + 1 == s.lines_;
        std::fill_n(to + s.in_size_[0] * B, last ? 2 * B : B, A(0));
      });
    }

    const A* block(int64_t i) const { return data + i * block_stride; }

    // Calls body(row) with a function from a cell to its row.
    template <class Body>
    void with_rows(int64_t i, Body&& body) const {
      const A* from = block(i);
      if (!in_place) return body([from](int64_t cell) { return from + cell * B; });
      const A* zeros = memory.data();
      body([=, outside = layout.outside, step = pitch](int64_t cell) {
        return cell == outside ? zeros : from + cell * step;
      });
    }

    const Sampler& s;
    const bool in_place;
    const Layout layout;
    Buffer<A> memory;  // the packed rows, or zeros
    const int64_t pitch, block_stride;
    const A* data = nullptr;
  };

  // Calls body(block, line) for the lines of cells along x of each block of channels.
  template <class Body>
  void for_lines(int threads, Body&& body) const {
    parallel_ranges(blocks_ * lines_, threads, [&](int64_t begin, int64_t end, int) {
      for (int64_t i = begin; i < end; ++i) body(i / lines_, i % lines_);
    });
  }

  // Calls body(first, x, count) for a line's tiles: their first cell in the tensor, and in the
  // line.
  template <class Body>
  void for_tiles_of_line(int64_t line, Body&& body) const {
    for (int64_t x = 0; x < in_size_[0]; x += kTile)
      body(line * in_size_[0] + x, x, in_tile(x, in_size_[0]));
  }

  int64_t start_of_line(int64_t line) const { return packed_.first + line * packed_.step[1]; }

  bool lies_in_rows() const { return in_rows(input_) && input_.run == cells_; }

  bool in_rows(const Plane& plane) const {
    return plane.dtype == dtype_of() && plane.channel_stride == 1 && channels_ % B == 0;
  }

  static constexpr DType dtype_of() {
    return std::is_same_v<A, double> ? DType::float64 : DType::float32;
  }

  int in_block(int64_t block) const {
    return static_cast<int>(std::min<int64_t>(B, channels_ - block * B));
  }

  // Where input and output both lie in rows, all channels of a point in one go.
  void gather_rows(const Source& source, const Taps& taps, int64_t first, int count,
                   const Plane& to) const {
    source.with_rows(0, [&](auto row) {
      to.for_runs(first, count, [&](int64_t offset, int start, int length) {
        A* target = reinterpret_cast<A*>(to.data) + offset;
        for (int p = start; p < start + length; ++p, target += to.cell_stride) {
          const A* rows[Taps::kCount];
          for (int tap = 0; tap < taps.kCount; ++tap) rows[tap] = row(taps.cell[tap][p]);
          for (int64_t c = 0; c < channels_; c += B) {
            Row sum{};
            for (int tap = 0; tap < taps.kCount; ++tap)
              sum.add_product(taps.weight[tap][p], Row::load(rows[tap] + c));
            sum.store(target + c);
          }
        }
      });
    });
  }

  // Calls body(source, item, threads) for each item of the batch: the items side by side where they
  // share out well among the threads, else one after another with all threads for each.
  template <class Body>
  void for_items(Body&& body) const {
    const auto items = [&](int64_t begin, int64_t end, int threads) {
      Source source(*this);
      for (int64_t item = begin; item < end; ++item) {
        source.prepare(item, threads);
        body(source, item, threads);
      }
    };
    if (batch_ % threads_ == 0 || batch_ >= 4 * threads_)
      parallel_ranges(batch_, threads_,
                      [&](int64_t begin, int64_t end, int) { items(begin, end, 1); });
    else
      items(0, batch_, threads_);
  }

  void place(int64_t item, int64_t output, int64_t first, int count, Taps& taps) const {
    alignas(64) A x[rank][kTile];
    this->positions(item, output, first, count, x);
    taps.place(x);
  }

  // Finds the taps for the way that the source is read.
  static void find(const Source& source, const A* factor, Taps& taps) {
    if constexpr (Rows::kPairs)
      if (!source.in_place) return taps.find_pairs(factor);
    taps.find_taps(factor);
  }

  static void gather(const Source& source, int64_t block, const Taps& taps, int count, A* tile) {
    if constexpr (Rows::kPairs)
      if (!source.in_place) return Rows::gather_pairs(source.block(block), taps, count, tile);
    source.with_rows(block, [&](auto row) { Rows::gather(row, taps, count, tile); });
  }

  // Adds to `partial`, which begins with the first block.
  static void add_products(const Source& source, int64_t block, const A* tile, const Taps& taps,
                           int count, A (&partial)[Taps::kCount][kTile * kFolded]) {
    if (block == 0)
      for (auto& of_tap : partial) std::fill_n(of_tap, count * kFolded, A(0));
    if constexpr (Rows::kPairs)
      if (!source.in_place) return Rows::add_pairs(source.block(block), tile, taps, count, partial);
    source.with_rows(block, [&](auto row) { Rows::add_products(row, tile, taps, count, partial); });
  }

  // The mask of a tile, or nothing if there is none.
  const A* load_mask(int64_t item, int64_t first, int count, A (&mask)[kTile]) const {
    if (!params_.mask) return nullptr;
    load_channel(mask_.at(item * params_.mask.stride[0]), 0, first, count, mask);
    std::fill(mask + count, mask + kTile, A(0));
    return mask;
  }

  [[gnu::noinline]] void sample_tiles(const Source& source, int64_t item, int64_t begin,
                                      int64_t end, const Tensor& out, const Plane& plane) const {
    const int64_t tiles = tiles_of(out_cells_);
    Taps taps(source.layout, this->axes_, params_.padding);
    alignas(64) A tile[kTile * B], mask[kTile];
    for (int64_t i = begin; i < end; ++i) {
      const int64_t output = i / tiles, first = this->start_of_tile(i % tiles);
      const int count = in_tile(first, out_cells_);
      place(item, output, first, count, taps);
      find(source, load_mask(item, first, count, mask), taps);
      const Plane to = plane.at(item * out.stride[0] + output * out.stride[1]);
      if (source.in_place && in_rows(to)) {
        gather_rows(source, taps, first, count, to);
        continue;
      }
      for (int64_t block = 0; block < blocks_; ++block) {
        gather(source, block, taps, count, tile);
        store_tile<A, B>(tile, block * B, in_block(block), first, count, to);
      }
    }
  }

  // The backward to the input. No two threads add to one place: each owns some blocks of some items
  // or, where there are more threads than blocks, a copy of them for its share of the tiles; copies
  // are summed in order. `wave` items are in work at a time.
  struct Sums {
    Sums(const Sampler& s)
        : groups(std::min(s.blocks_, divide_up(s.threads_, s.batch_))),
          splits(std::min(std::max<int64_t>(1, s.threads_ / (s.batch_ * groups)),
                          1 + s.outputs_ * s.out_cells_ / s.cells_)),
          wave(std::min(s.batch_, divide_up(s.threads_, groups * splits))),
          copy_size(s.blocks_ * s.block_size_),
          memory(wave * splits * copy_size) {}

    static int64_t divide_up(int64_t a, int64_t b) { return (a + b - 1) / b; }

    const int64_t groups, splits, wave, copy_size;
    Buffer<A> memory;
  };

  A* sums_at(const Sums& sums, int64_t in_wave, int64_t split, int64_t block) const {
    return sums.memory.data() + (in_wave * sums.splits + split) * sums.copy_size +
           block * block_size_;
  }

  void backward_input(const Tensor& grad, const Tensor& to) const {
    const Sums sums(*this);
    const Plane grad_plane(grad, 3, 2), to_plane(to, 2, 1);
    for (int64_t start = 0; start < batch_; start += sums.wave) {
      const int64_t items = std::min(sums.wave, batch_ - start);
      const int64_t units = sums.groups * sums.splits;
      parallel_for(items * units, threads_, [&](int64_t i) {
        const int64_t item = start + i / units;
        scatter_share(sums, i, item, grad.stride[1], grad_plane.at(item * grad.stride[0]));
      });
      for (int64_t i = 0; i < items; ++i) {
        const Plane target = to_plane.at((start + i) * to.stride[0]);
        for_lines(threads_,
                  [&](int64_t block, int64_t line) { reduce_line(sums, i, block, line, target); });
      }
    }
  }

  // What one thread adds up: `unit` counts items of the wave, groups of blocks, splits.
  [[gnu::noinline]] void scatter_share(const Sums& sums, int64_t unit, int64_t item,
                                       int64_t output_stride, const Plane& grad) const {
    const int64_t split = unit % sums.splits, group = unit / sums.splits % sums.groups;
    const int64_t in_wave = unit / (sums.splits * sums.groups);
    const int64_t block_begin = blocks_ * group / sums.groups;
    const int64_t block_end = blocks_ * (group + 1) / sums.groups;
    A* const blocks = sums_at(sums, in_wave, split, 0);
    std::fill(blocks + block_begin * block_size_, blocks + block_end * block_size_, A(0));
    const int64_t tiles = tiles_of(out_cells_), work = outputs_ * tiles;
    Taps taps(packed_, this->axes_, params_.padding);
    alignas(64) A tile[kTile * B], mask[kTile];
    for (int64_t i = work * split / sums.splits; i < work * (split + 1) / sums.splits; ++i) {
      const int64_t output = i / tiles, first = this->start_of_tile(i % tiles);
      const int count = in_tile(first, out_cells_);
      place(item, output, first, count, taps);
      taps.find_taps(load_mask(item, first, count, mask));
      const Plane from = grad.at(output * output_stride);
      for (int64_t block = block_begin; block < block_end; ++block) {
        load_tile<A, B>(from, block * B, in_block(block), first, count, tile);
        Rows::scatter(tile, taps, count, blocks + block * block_size_);
      }
    }
  }

  [[gnu::noinline]] void reduce_line(const Sums& sums, int64_t in_wave, int64_t block, int64_t line,
                                     const Plane& to) const {
    for_tiles_of_line(line, [&](int64_t first, int64_t x, int count) {
      const int64_t at = (start_of_line(line) + x) * B;
      A* sum = sums_at(sums, in_wave, 0, block) + at;
      for (int64_t split = 1; split < sums.splits; ++split) {
        const A* more = sums_at(sums, in_wave, split, block) + at;
        for (int j = 0; j < count * B; ++j) sum[j] += more[j];
      }
      store_tile<A, B>(sum, block * B, in_block(block), first, count, to);
    });
  }

  // All gradients but the input's follow from the products of the output's gradient with the rows
  // that each tap reads.
  void backward_positions(const Tensor& grad, const Gradients& gradients) const {
    for_items([&](const Source& source, int64_t item, int threads) {
      parallel_ranges(tiles_of(out_cells_), threads, [&](int64_t begin, int64_t end, int) {
        differentiate_tiles(source, item, begin, end, grad, gradients);
      });
    });
    if (gradients.coordinates || gradients.weight) this->spread_gradients(gradients, threads_);
  }

  [[gnu::noinline]] void differentiate_tiles(const Source& source, int64_t item, int64_t begin,
                                             int64_t end, const Tensor& grad,
                                             const Gradients& gradients) const {
    const Plane grad_plane = Plane(grad, 3, 2).at(item * grad.stride[0]);
    Taps taps(source.layout, this->axes_, params_.padding);
    alignas(64) A dots[Taps::kCount][kTile], position_grad[rank][kTile], mask[kTile];
    alignas(64) A mask_grad[kTile];
    for (int64_t i = begin; i < end; ++i) {
      const int64_t first = this->start_of_tile(i);
      const int count = in_tile(first, out_cells_);
      const A* factor = load_mask(item, first, count, mask);
      if (gradients.mask) std::fill_n(mask_grad, kTile, A(0));
      for (int64_t output = 0; output < outputs_; ++output) {
        place(item, output, first, count, taps);
        find(source, nullptr, taps);
        dot(grad_plane.at(output * grad.stride[1]), first, count, source, taps, dots);
        taps.differentiate(dots, position_grad);
        if (factor)
          for (auto& along : position_grad)
            for (int p = 0; p < kTile; ++p) along[p] *= factor[p];
        if (gradients.mask) taps.add_values(dots, mask_grad);
        this->store_gradients(item, output, first, count, position_grad, gradients);
      }
      if (gradients.mask)
        store_channel(mask_grad, 0, first, count,
                      Plane(gradients.mask, 1, -1).at(item * gradients.mask.stride[0]));
    }
  }

  // dots[tap][p]: the sum over channels of the gradient at p times the row that the tap reads.
  void dot(const Plane& grad, int64_t first, int count, const Source& source, const Taps& taps,
           A (&dots)[Taps::kCount][kTile]) const {
    constexpr int tap_count = Taps::kCount;
    alignas(64) A partial[tap_count][kTile * kFolded];
    if (source.in_place && in_rows(grad)) {
      dot_rows(grad, first, count, source, taps, partial);
    } else {
      alignas(64) A tile[kTile * B];
      for (int64_t block = 0; block < blocks_; ++block) {
        load_tile<A, B>(grad, block * B, in_block(block), first, count, tile);
        add_products(source, block, tile, taps, count, partial);
      }
    }
    for (int tap = 0; tap < tap_count; ++tap) {
      alignas(64) A lanes[kFolded][kTile];
      rows_to_channels<A, kFolded>(partial[tap], kTile, kFolded, kTile, lanes[0]);
      for (int p = 0; p < kTile; ++p) {
        A sum = 0;
        for (int lane = 0; lane < kFolded; ++lane) sum += lanes[lane][p];
        dots[tap][p] = sum;
      }
    }
  }

  // The same sums in the same order.
  void dot_rows(const Plane& grad, int64_t first, int count, const Source& source, const Taps& taps,
                A (&partial)[Taps::kCount][kTile * kFolded]) const {
    source.with_rows(0, [&](auto row) {
      grad.for_runs(first, count, [&](int64_t offset, int start, int length) {
        const A* from = reinterpret_cast<const A*>(grad.data) + offset;
        for (int p = start; p < start + length; ++p, from += grad.cell_stride) {
          const A* rows[Taps::kCount];
          Folded sums[Taps::kCount] = {};
          for (int tap = 0; tap < taps.kCount; ++tap) rows[tap] = row(taps.cell[tap][p]);
          for (int64_t c = 0; c < channels_; c += B) {
            const Row at = Row::load(from + c);
            for (int tap = 0; tap < taps.kCount; ++tap)
              sums[tap] += Rows::product(at, Row::load(rows[tap] + c));
          }
          for (int tap = 0; tap < taps.kCount; ++tap)
            std::memcpy(partial[tap] + p * kFolded, &sums[tap], sizeof sums[tap]);
        }
      });
    });
  }

  const int64_t batch_, channels_, blocks_, lines_;
  const int64_t block_size_;  // packed
  Plane input_;
  int threads_;
};

template <class A, class Body>
void dispatch_as(const Params& params, int threads, Body&& body) {
  // Blocks of 16 for the mode that carries features, of 4 elsewhere, which halves the code.
  with_taps(params, [&](auto rank, auto n) {
    if constexpr (std::is_same_v<A, float> && n == 2)
      if (params.input.size[1] > 4) return body(Sampler<A, 16, rank, n>(params, threads));
    body(Sampler<A, 4, rank, n>(params, threads));
  });
}

template <class Body>
void dispatch(const Params& params, int threads, Body&& body) {
  if (params.input.dtype == DType::float64) return dispatch_as<double>(params, threads, body);
  dispatch_as<float>(params, threads, body);
}

}  // namespace

void forward(const Params& params, const Tensor& out, int threads) {
  dispatch(params, threads, [&](auto sampler) { sampler.forward(out); });
}

void backward(const Params& params, const Tensor& grad, const Gradients& gradients, int threads) {
  dispatch(params, threads, [&](auto sampler) { sampler.backward(grad, gradients); });
}

}  // namespace motion_lab::grid_sample::cpu::MOTION_LAB_ISA
