// Runs a bundle with ONNX Runtime's C++ API: bare BGR pictures come in on stdin, a line of CSV per picture goes out.
//
//   unzip -d bundle my.trk
//   ffmpeg -v error -i video.mp4 -f rawvideo -pix_fmt bgr24 - | ./track bundle 1280 720 120 80 60 40 > boxes.csv
//
// All that is left for the host: cut a region, run a graph, move the target. The rules are the manifest's, see
// docs/bundle.md; a rule that only few models have (running sides, nested pyramids, TensorFlow's sampling, several
// search graphs) is refused and not guessed.

#include <onnxruntime_cxx_api.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <string>
#include <vector>

using json = nlohmann::ordered_json;  // ordered: `params` of the graph has the order that it has in bundle.json

struct Picture {
  int width, height;
  std::vector<uint8_t> bgr;  // rows of blue, green, red
};

struct Target {
  double cx, cy, w, h;
};

// What a crop is asked to show, in pixels of the picture: its size, and how far it reaches left and up of the centre.
struct Extent {
  double width, height, left, top;
};

// Crops, one behind the other, and what the middle one shows: its centre, and pixels of the picture per crop pixel.
struct Crops {
  std::vector<uint8_t> bgr;
  double cx, cy, across, down;
};

long rounded(double value, const std::string& how) {
  if (how == "half_even") return std::lrint(value);  // the processor's default
  if (how == "up") return std::lround(std::ceil(value));
  if (how == "toward_zero") return std::lround(std::trunc(value));
  if (how == "half_up" || value >= 0) return std::lround(std::floor(value + 0.5));
  return std::lround(std::ceil(value - 0.5));  // half_away
}

// Where the samples of a resize from `side` to `m` pixels lie: two neighbours each and their weights, 2048 together.
struct Taps {
  std::vector<long> first, second;
  std::vector<int> near, far;

  Taps(long side, int m, bool columns) {
    for (int i = 0; i < m; ++i) {
      const float at = float((i + 0.5) * (double(side) / m) - 0.5);
      long cell = long(std::floor(at));
      float share = at - float(cell);
      if (columns && (cell < 0 || cell >= side - 1)) share = 0, cell = std::clamp(cell, 0L, side - 1);
      first.push_back(std::clamp(cell, 0L, side - 1));
      second.push_back(std::clamp(cell + 1, 0L, side - 1));
      near.push_back(int(std::lrint((1 - share) * 2048)));
      far.push_back(int(std::lrint(share * 2048)));
    }
  }
};

// A region of whole pixels, resized to m x m; `fill` outside the picture, whose last `unseen` columns and rows count as
// outside. Bilinear in whole numbers, as cv::resize does it: the crops are then trk's own to the byte, and the boxes to
// the last digits.
void cut(const Picture& picture, long left, long top, long width, long height, long unseen, const uint8_t fill[3],
         int m, uint8_t* out) {
  const Taps x(width, m, true), y(height, m, false);
  const long columns = picture.width - unseen, rows = picture.height - unseen;
  auto pixel = [&](long column, long row) {
    const bool inside = column >= 0 && row >= 0 && column < columns && row < rows;
    return inside ? &picture.bgr[3 * (row * picture.width + column)] : fill;
  };
  for (int row = 0; row < m; ++row) {
    const long upper = top + y.first[row], lower = top + y.second[row];
    for (int column = 0; column < m; ++column) {
      const long near = left + x.first[column], far = left + x.second[column];
      const uint8_t *a = pixel(near, upper), *b = pixel(far, upper), *c = pixel(near, lower), *d = pixel(far, lower);
      for (int channel = 0; channel < 3; ++channel) {
        const int above = a[channel] * x.near[column] + b[channel] * x.far[column];
        const int below = c[channel] * x.near[column] + d[channel] * x.far[column];
        *out++ = uint8_t((((y.near[row] * (above >> 4)) >> 16) + ((y.far[row] * (below >> 4)) >> 16) + 2) >> 2);
      }
    }
  }
}

class Tracker {
 public:
  explicit Tracker(const std::string& folder) : env_(ORT_LOGGING_LEVEL_WARNING, "trk") {
    std::ifstream file(folder + "/bundle.json");
    if (!file) throw std::runtime_error(folder + "/bundle.json can't be read: name the folder of an unzipped bundle");
    manifest_ = json::parse(file);
    // Rules that bundles of older versions lack, then the bundle's own.
    geometry_ = json::parse(R"({"box_context": null, "crop": {"origin": "cut", "scale": "asked", "unseen_edge": 0},
                                "limits": {"in_frame": null, "whole_pixels": false}})");
    geometry_.update(manifest_["geometry"], true);
    crop_ = geometry_["crop"];
    limits_ = geometry_["limits"];
    only("side", geometry_["side"], {"derived"});
    only("pyramid", crop_["pyramid"], {"direct"});
    only("sampling", crop_["sampling"], {"resize"});
    only("fill", crop_["fill"], {"truncate", "round", "black"});
    only("fill_from", crop_["fill_from"], {"first"});
    only("origin", crop_["origin"], {"cut", "asked"});
    only("scale", crop_["scale"], {"asked", "cut"});
    for (const char* rounding : {"origin_rounding", "side_rounding"})
      only(rounding, crop_[rounding], {"half_even", "half_up", "half_away", "up", "toward_zero"});
    only("limits of", limits_["of"], {"state"});
    only("relative_size", limits_["relative_size"], {nullptr});
    if (!limits_["in_frame"].is_null()) only("beyond", limits_["in_frame"]["beyond"], {"cut", "move"});
    only("hysteresis", geometry_["hysteresis"], {nullptr});
    if (manifest_["searches"].size() != 1) throw std::runtime_error("several search graphs: not in this example");
    Ort::SessionOptions options;
    options.SetIntraOpNumThreads(1);
    template_ = Ort::Session(env_, (folder + "/" + text(manifest_["template"]["file"])).c_str(), options);
    search_ = Ort::Session(env_, (folder + "/" + text(manifest_["searches"][0]["file"])).c_str(), options);
    for (const auto& [name, value] : manifest_["params"].items()) params_.push_back(value);
  }

  void init(const Picture& picture, double x, double y, double w, double h) {
    if (limits_["whole_pixels"]) {
      keep_in_frame(picture, x, y, w, h);
      x = std::trunc(x), y = std::trunc(y), w = std::trunc(w), h = std::trunc(h);
    }
    target_ = {x + w / 2, y + h / 2, w, h};
    double sums[3] = {0, 0, 0};
    for (size_t i = 0; i < picture.bgr.size(); ++i) sums[i % 3] += picture.bgr[i];
    const double pixels = double(picture.width) * picture.height;
    for (int c = 0; c < 3; ++c) {
      const double mean = sums[c] / pixels;
      fill_[c] = uint8_t(crop_["fill"] == "black" ? 0 : crop_["fill"] == "round" ? std::lrint(mean) : long(mean));
    }
    const int size = geometry_["template_size"];
    const Extent asked = extent("template", size, geometry_["round_exemplar"]);
    Crops crops = pyramid(picture, asked, geometry_["template_steps"], size);
    kernels_ = run(template_, manifest_["template"], crops);
  }

  // The new box; `score` is the network's own.
  Target update(const Picture& picture, float& score) {
    const auto& search = manifest_["searches"][0];
    const int size = search["size"];
    Crops crops = pyramid(picture, extent("search", size, false), geometry_["search_steps"], size);
    auto found = run(search_, search, crops);
    const float* box = found.at("box").GetTensorData<float>();
    score = found.at("score").GetTensorData<float>()[0];
    for (float value : {box[0], box[1], box[2], box[3], score})
      if (!std::isfinite(value)) return target_;
    if (!crop_["recentre"]) crops.cx = target_.cx, crops.cy = target_.cy;
    target_ = {crops.cx + box[0] * crops.across, crops.cy + box[1] * crops.down, box[2] * crops.across,
               box[3] * crops.down};
    limit(picture);
    return target_;
  }

 private:
  using Tensors = std::map<std::string, Ort::Value>;

  static std::string text(const json& value) { return value.get<std::string>(); }

  static void only(const char* rule, const json& value, const std::vector<json>& known) {
    if (std::find(known.begin(), known.end(), value) == known.end())
      throw std::runtime_error(std::string(rule) + " = " + value.dump() + " is not in this example");
  }

  // The target with its context: a square that is `exemplar_size` of a crop's pixels, or the box grown to all sides.
  Extent extent(const char* crop, int size, bool whole) const {
    const double w = target_.w, h = target_.h;
    if (!geometry_["box_context"].is_null()) {
      const double share = geometry_["box_context"][crop];
      return {w * (1 + share + share), h * (1 + share + share), w / 2 + w * share, h / 2 + h * share};
    }
    const double context = double(geometry_["context_amount"]) * (w + h);
    double side = std::sqrt((w + context) * (h + context));
    if (whole) side = std::nearbyint(side);
    side *= size / double(geometry_["exemplar_size"]);
    return {side, side, side / 2, side / 2};
  }

  // A crop of m x m for each step.
  Crops pyramid(const Picture& picture, const Extent& asked, const json& steps, int m) const {
    const double scale_step = manifest_["params"].value("scale_step", 1.0);
    const double shift = crop_["centre_shift"], origin_shift = crop_["origin_shift"];
    const bool from_cut = crop_["origin"] == "cut", scale_of_cut = crop_["scale"] == "cut";
    Crops crops{std::vector<uint8_t>(steps.size() * m * m * 3), 0, 0, asked.width / m, asked.height / m};
    for (size_t i = 0; i < steps.size(); ++i) {
      const double factor = std::pow(scale_step, double(steps[i]));
      const long width = std::max(1L, rounded(asked.width * factor, crop_["side_rounding"]));
      const long height = std::max(1L, rounded(asked.height * factor, crop_["side_rounding"]));
      const double reach_x = (from_cut ? width / 2.0 : asked.left * factor) + origin_shift;
      const double reach_y = (from_cut ? height / 2.0 : asked.top * factor) + origin_shift;
      const long left = rounded(target_.cx + shift - reach_x, crop_["origin_rounding"]);
      const long top = rounded(target_.cy + shift - reach_y, crop_["origin_rounding"]);
      cut(picture, left, top, width, height, crop_["unseen_edge"], fill_, m, &crops.bgr[i * m * m * 3]);
      if (i != steps.size() / 2) continue;
      crops.cx = left + width / 2.0 - shift, crops.cy = top + height / 2.0 - shift;
      if (scale_of_cut) crops.across = double(width) / m, crops.down = double(height) / m;
    }
    return crops;
  }

  // Inputs by the names that the manifest gives them.
  Tensors run(Ort::Session& session, const json& graph, Crops& crops) {
    std::vector<const char*> inputs, outputs;
    std::vector<Ort::Value> values;
    float size[2] = {float(target_.w / crops.across), float(target_.h / crops.down)};
    for (const auto& tensor : graph["inputs"]) {
      const std::string name = text(tensor["name"]);
      const auto shape = tensor["shape"].get<std::vector<int64_t>>();
      inputs.push_back(tensor["name"].get_ref<const std::string&>().c_str());
      if (name == "crop") {
        auto& bytes = crops.bgr;
        values.push_back(Ort::Value::CreateTensor<uint8_t>(memory_, bytes.data(), bytes.size(), shape.data(), 4));
      } else if (name == "size" || name == "params") {
        float* data = name == "size" ? size : params_.data();
        const size_t count = name == "size" ? 2 : params_.size();
        values.push_back(Ort::Value::CreateTensor<float>(memory_, data, count, shape.data(), shape.size()));
      } else {
        Ort::Value& kernel = kernels_.at(name);
        values.push_back(Ort::Value::CreateTensor<float>(
            memory_, kernel.GetTensorMutableData<float>(), kernel.GetTensorTypeAndShapeInfo().GetElementCount(),
            shape.data(), shape.size()));
      }
    }
    for (const auto& tensor : graph["outputs"]) outputs.push_back(tensor["name"].get_ref<const std::string&>().c_str());
    auto found =
        session.Run(Ort::RunOptions{}, inputs.data(), values.data(), values.size(), outputs.data(), outputs.size());
    Tensors named;
    for (size_t i = 0; i < outputs.size(); ++i) named.emplace(outputs[i], std::move(found[i]));
    return named;
  }

  void limit(const Picture& picture) {
    auto& [cx, cy, w, h] = target_;
    const bool whole = limits_["whole_pixels"];
    if (whole || !limits_["in_frame"].is_null()) {
      double x = cx - w / 2, y = cy - h / 2;
      if (whole) x = std::nearbyint(x), y = std::nearbyint(y), w = std::nearbyint(w), h = std::nearbyint(h);
      keep_in_frame(picture, x, y, w, h);
      cx = x + w / 2, cy = y + h / 2;
    }
    if (limits_["centre_in_frame"]) {
      cx = std::clamp(cx, 0.0, double(picture.width));
      cy = std::clamp(cy, 0.0, double(picture.height));
    }
    if (limits_["max_size_frame"]) {
      w = std::min(w, double(picture.width));
      h = std::min(h, double(picture.height));
    }
    if (!limits_["min_size"].is_null()) {
      w = std::max(w, double(limits_["min_size"]));
      h = std::max(h, double(limits_["min_size"]));
    }
  }

  // What `in_frame` makes of a box: beyond the left and top edge it is cut off or moved, beyond the others cut off.
  void keep_in_frame(const Picture& picture, double& x, double& y, double& w, double& h) const {
    const json& rule = limits_["in_frame"];
    if (rule.is_null()) return;
    const double least = rule["min_side"];
    const bool move = rule["beyond"] == "move";
    auto along = [&](double& first, double& length, double end) {
      const double begin = std::min(std::max(0.0, first), end - least), last = (move ? begin : first) + length;
      first = begin;
      length = std::max(least, std::min(last, end) - begin);
    };
    along(x, w, picture.width);
    along(y, h, picture.height);
  }

  Ort::Env env_;
  Ort::MemoryInfo memory_ = Ort::MemoryInfo::CreateCpu(OrtArenaAllocator, OrtMemTypeDefault);
  Ort::Session template_{nullptr}, search_{nullptr};
  json manifest_, geometry_, crop_, limits_;
  std::vector<float> params_;
  Tensors kernels_;
  Target target_{};
  uint8_t fill_[3] = {0, 0, 0};
};

int main(int count, char** words) try {
  if (count != 8) {
    std::fprintf(stderr, "usage: track BUNDLE_FOLDER WIDTH HEIGHT X Y W H < bgr24 pictures > boxes.csv\n");
    return 2;
  }
  Tracker tracker(words[1]);
  Picture picture{std::stoi(words[2]), std::stoi(words[3]), {}};
  picture.bgr.resize(size_t(3) * picture.width * picture.height);
  double x = std::stod(words[4]), y = std::stod(words[5]), w = std::stod(words[6]), h = std::stod(words[7]);
  float score = 1;
  std::printf("frame,x,y,w,h,score\n");
  for (int frame = 0; std::fread(picture.bgr.data(), 1, picture.bgr.size(), stdin) == picture.bgr.size(); ++frame) {
    if (frame == 0) {
      tracker.init(picture, x, y, w, h);
    } else {
      const Target target = tracker.update(picture, score);
      x = target.cx - target.w / 2, y = target.cy - target.h / 2, w = target.w, h = target.h;
    }
    std::printf("%d,%.4f,%.4f,%.4f,%.4f,%.6f\n", frame, x, y, w, h, score);
  }
  return 0;
} catch (const std::exception& error) {
  std::fprintf(stderr, "track: %s\n", error.what());
  return 2;
}
