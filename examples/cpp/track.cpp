// Runs a bundle with ONNX Runtime's C++ API: bare BGR pictures come in on stdin, a line of CSV per picture goes out.
//
//   unzip -d bundle my.trk
//   ffmpeg -v error -i video.mp4 -f rawvideo -pix_fmt bgr24 - | ./track bundle 1280 720 120 80 60 40 > boxes.csv
//
// All that is left for the host: cut a square, run a graph, move the target. The rules are the manifest's, see
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

long rounded(double value, const std::string& how) {
  if (how == "half_even") return std::lrint(value);  // the processor's default
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

// A square of `side` whole pixels from (left, top) on, resized to m x m; `fill` outside the picture. Bilinear in whole
// numbers, as cv::resize does it: the crops are then trk's own to the byte, and the boxes to the last digits.
void cut(const Picture& picture, long left, long top, long side, const uint8_t fill[3], int m, uint8_t* out) {
  const Taps x(side, m, true), y(side, m, false);
  auto pixel = [&](long column, long row) {
    const bool inside = column >= 0 && row >= 0 && column < picture.width && row < picture.height;
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
    geometry_ = manifest_["geometry"];
    crop_ = geometry_["crop"];
    only("side", geometry_["side"], "derived");
    only("pyramid", crop_["pyramid"], "direct");
    only("sampling", crop_["sampling"], "resize");
    only("fill_from", crop_["fill_from"], "first");
    only("limits of", geometry_["limits"]["of"], "state");
    only("relative_size", geometry_["limits"]["relative_size"], nullptr);
    only("hysteresis", geometry_["hysteresis"], nullptr);
    if (manifest_["searches"].size() != 1) throw std::runtime_error("several search graphs: not in this example");
    Ort::SessionOptions options;
    options.SetIntraOpNumThreads(1);
    template_ = Ort::Session(env_, (folder + "/" + text(manifest_["template"]["file"])).c_str(), options);
    search_ = Ort::Session(env_, (folder + "/" + text(manifest_["searches"][0]["file"])).c_str(), options);
    for (const auto& [name, value] : manifest_["params"].items()) params_.push_back(value);
  }

  void init(const Picture& picture, double x, double y, double w, double h) {
    target_ = {x + w / 2, y + h / 2, w, h};
    double sums[3] = {0, 0, 0};
    for (size_t i = 0; i < picture.bgr.size(); ++i) sums[i % 3] += picture.bgr[i];
    const double pixels = double(picture.width) * picture.height;
    for (int c = 0; c < 3; ++c) {
      const double mean = sums[c] / pixels;
      fill_[c] = uint8_t(crop_["fill"] == "round" ? std::lrint(mean) : long(mean));
    }
    const int size = geometry_["template_size"];
    double side = context_side();
    if (geometry_["round_exemplar"]) side = std::nearbyint(side);
    side *= double(size) / double(geometry_["exemplar_size"]);
    auto [crops, centre] = pyramid(picture, side, geometry_["template_steps"], size);
    kernels_ = run(template_, manifest_["template"], crops, size / side);
  }

  // The new box; `score` is the network's own.
  Target update(const Picture& picture, float& score) {
    const auto& search = manifest_["searches"][0];
    const int size = search["size"];
    const double side = context_side() * size / double(geometry_["exemplar_size"]), pixels = size / side;
    auto [crops, centre] = pyramid(picture, side, geometry_["search_steps"], size);
    auto found = run(search_, search, crops, pixels);
    const float* box = found.at("box").GetTensorData<float>();
    score = found.at("score").GetTensorData<float>()[0];
    for (int i = 0; i < 4; ++i)
      if (!std::isfinite(box[i])) return target_;
    if (!crop_["recentre"]) centre = {target_.cx, target_.cy};
    target_ = {centre.first + box[0] / pixels, centre.second + box[1] / pixels, box[2] / pixels, box[3] / pixels};
    limit(picture);
    return target_;
  }

 private:
  using Tensors = std::map<std::string, Ort::Value>;
  using Point = std::pair<double, double>;

  static std::string text(const json& value) { return value.get<std::string>(); }

  static void only(const char* rule, const json& value, const json& known) {
    if (value != known) throw std::runtime_error(std::string(rule) + " = " + value.dump() + " is not in this example");
  }

  // Side of the square that holds the target with its context, in pixels of the picture.
  double context_side() const {
    const double context = double(geometry_["context_amount"]) * (target_.w + target_.h);
    return std::sqrt((target_.w + context) * (target_.h + context));
  }

  // One crop a step, one behind the other, and the centre of the middle one.
  std::pair<std::vector<uint8_t>, Point> pyramid(const Picture& picture, double side, const json& steps, int m) {
    const double scale_step = manifest_["params"].value("scale_step", 1.0), shift = crop_["centre_shift"];
    std::vector<uint8_t> crops(steps.size() * m * m * 3);
    Point middle;
    for (size_t i = 0; i < steps.size(); ++i) {
      const double exact = side * std::pow(scale_step, double(steps[i]));
      const long whole = std::max(1L, rounded(exact, crop_["side_rounding"]));
      const double offset = whole / 2.0 + double(crop_["origin_shift"]);
      const long left = rounded(target_.cx + shift - offset, crop_["origin_rounding"]);
      const long top = rounded(target_.cy + shift - offset, crop_["origin_rounding"]);
      cut(picture, left, top, whole, fill_, m, &crops[i * m * m * 3]);
      if (i == steps.size() / 2) middle = {left + whole / 2.0 - shift, top + whole / 2.0 - shift};
    }
    return {std::move(crops), middle};
  }

  // Inputs by the names that the manifest gives them; `pixels`: crop pixels per pixel of the picture.
  Tensors run(Ort::Session& session, const json& graph, std::vector<uint8_t>& crops, double pixels) {
    std::vector<const char*> inputs, outputs;
    std::vector<Ort::Value> values;
    float size[2] = {float(target_.w * pixels), float(target_.h * pixels)};
    for (const auto& tensor : graph["inputs"]) {
      const std::string name = text(tensor["name"]);
      const auto shape = tensor["shape"].get<std::vector<int64_t>>();
      inputs.push_back(tensor["name"].get_ref<const std::string&>().c_str());
      if (name == "crop") {
        values.push_back(Ort::Value::CreateTensor<uint8_t>(memory_, crops.data(), crops.size(), shape.data(), 4));
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
    const auto& limits = geometry_["limits"];
    if (limits["centre_in_frame"]) {
      target_.cx = std::clamp(target_.cx, 0.0, double(picture.width));
      target_.cy = std::clamp(target_.cy, 0.0, double(picture.height));
    }
    if (limits["max_size_frame"]) {
      target_.w = std::min(target_.w, double(picture.width));
      target_.h = std::min(target_.h, double(picture.height));
    }
    if (!limits["min_size"].is_null()) {
      target_.w = std::max(target_.w, double(limits["min_size"]));
      target_.h = std::max(target_.h, double(limits["min_size"]));
    }
  }

  Ort::Env env_;
  Ort::MemoryInfo memory_ = Ort::MemoryInfo::CreateCpu(OrtArenaAllocator, OrtMemTypeDefault);
  Ort::Session template_{nullptr}, search_{nullptr};
  json manifest_, geometry_, crop_;
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
