-- A script for wrk: requests for a run of one image of 3x224x224, as binary tensors. The input is called "input",
-- or as the variable INPUT says. Prints a row: requests/s, and percentiles of the latency in milliseconds.
local elements = 3 * 224 * 224
local head = string.format(
  '{"parameters":{"binary_data_output":true},"inputs":[{"name":"%s","datatype":"FP32",' ..
  '"shape":[1,3,224,224],"parameters":{"binary_data_size":%d}}]}',
  os.getenv("INPUT") or "input", 4 * elements)

wrk.method = "POST"
wrk.headers["Inference-Header-Content-Length"] = #head
-- 0.5 in f32.
wrk.body = head .. string.rep("\0\0\0\63", elements)

function done(summary, latency)
  local rate = summary.requests / summary.duration * 1e6
  local function ms(percent) return latency:percentile(percent) / 1e3 end
  local failed = summary.errors.status + summary.errors.timeout + summary.errors.read + summary.errors.connect
  io.write(string.format("%.1f requests/s, p50 %.1f ms, p99 %.1f ms, p99.9 %.1f ms, %d failed\n",
    rate, ms(50), ms(99), ms(99.9), failed))
end
