// Requests to the playground's server.

export async function call(path, body) {
  const raw = body instanceof Blob;
  const options = body === undefined ? {} : {
    method: "POST",
    body: raw ? body : JSON.stringify(body),
    headers: { "Content-Type": raw ? body.type || "application/octet-stream" : "application/json" },
  };
  const response = await fetch(path, options).catch(() => { throw new Error("딥봇 놀이터에 닿지 못했어요. 잠시 뒤 다시 해 주세요."); });
  const answer = await response.json().catch(() => ({}));
  if (!response.ok) throw new Error(answer.error || `요청이 실패했어요. (${response.status})`);
  return answer;
}
