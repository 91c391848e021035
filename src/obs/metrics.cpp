// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
#include <prometheus/counter.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>
#include <prometheus/text_serializer.h>

#include <mutex>
#include <sstream>

#include "walign/obs.hpp"

namespace walign::obs {

namespace {

class PrometheusCounter final : public Counter {
 public:
  explicit PrometheusCounter(prometheus::Counter& counter) : counter_(counter) {}
  void add(double amount) override {
    WALIGN_CHECK(amount >= 0);
    counter_.Increment(amount);
  }
  [[nodiscard]] double value() const override { return counter_.Value(); }

 private:
  prometheus::Counter& counter_;
};

class PrometheusGauge final : public Gauge {
 public:
  explicit PrometheusGauge(prometheus::Gauge& gauge) : gauge_(gauge) {}
  void set(double value) override { gauge_.Set(value); }
  [[nodiscard]] double value() const override { return gauge_.Value(); }

 private:
  prometheus::Gauge& gauge_;
};

class PrometheusHistogram final : public Histogram {
 public:
  explicit PrometheusHistogram(prometheus::Histogram& histogram) : histogram_(histogram) {}
  void observe(double value) override { histogram_.Observe(value); }

 private:
  prometheus::Histogram& histogram_;
};

using Key = std::pair<std::string, Labels>;

bool is_name(std::string_view name) {
  constexpr std::string_view kStart = "walign_";
  return name.size() > kStart.size() && name.substr(0, kStart.size()) == kStart &&
         name.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789_") == std::string_view::npos;
}

bool is_counter_name(std::string_view name) {
  constexpr std::string_view kEnd = "_total";
  return is_name(name) && name.size() > kEnd.size() && name.substr(name.size() - kEnd.size()) == kEnd;
}

}  // namespace

struct Metrics::Registry {
  mutable std::mutex mutex;
  prometheus::Registry registry;  // has a lock of its own for text()
  // Guarded by mutex.
  std::map<std::string, char> kinds;
  std::map<Key, PrometheusCounter> counters;
  std::map<Key, PrometheusGauge> gauges;
  std::map<Key, PrometheusHistogram> histograms;

  void check_kind(const std::string& name, char kind) {
    const char known = kinds.emplace(name, kind).first->second;
    WALIGN_CHECK(known == kind);
  }
};

Metrics::Metrics() : registry_(std::make_shared<Registry>()) {}
Metrics::Metrics(const Metrics& whole, const Labels& always)
    : registry_(whole.registry_), always_(whole.with_always(always)) {}
Metrics::~Metrics() = default;

Labels Metrics::with_always(const Labels& labels) const {
  Labels out = always_;
  out.insert(labels.begin(), labels.end());
  return out;
}

Counter& Metrics::counter(const std::string& name, const std::string& help, const Labels& its) {
  const Labels labels = with_always(its);
  WALIGN_CHECK(is_counter_name(name));
  const std::lock_guard lock(registry_->mutex);
  registry_->check_kind(name, 'c');
  auto& family = prometheus::BuildCounter().Name(name).Help(help).Register(registry_->registry);
  return registry_->counters.try_emplace({name, labels}, family.Add(labels)).first->second;
}

Gauge& Metrics::gauge(const std::string& name, const std::string& help, const Labels& its) {
  const Labels labels = with_always(its);
  WALIGN_CHECK(is_name(name));
  const std::lock_guard lock(registry_->mutex);
  registry_->check_kind(name, 'g');
  auto& family = prometheus::BuildGauge().Name(name).Help(help).Register(registry_->registry);
  return registry_->gauges.try_emplace({name, labels}, family.Add(labels)).first->second;
}

Histogram& Metrics::histogram(const std::string& name, const std::string& help,
                              const std::vector<double>& bounds, const Labels& its) {
  const Labels labels = with_always(its);
  WALIGN_CHECK(is_name(name));
  WALIGN_CHECK(!bounds.empty() && std::is_sorted(bounds.begin(), bounds.end()));
  const std::lock_guard lock(registry_->mutex);
  registry_->check_kind(name, 'h');
  auto& family = prometheus::BuildHistogram().Name(name).Help(help).Register(registry_->registry);
  return registry_->histograms.try_emplace({name, labels}, family.Add(labels, bounds)).first->second;
}

std::string Metrics::text() const {
  std::ostringstream out;
  prometheus::TextSerializer().Serialize(out, registry_->registry.Collect());
  return out.str();
}

}  // namespace walign::obs
