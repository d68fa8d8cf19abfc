#!/usr/bin/env python3
"""mut.py PACKAGE OUT.jsonl LIST.json TESTS...: runs mutants one after the other; TESTS are arguments like --lib or --test=it. Resumable."""
import json, subprocess, sys, time, os, signal, re
pkg, out, lst, tests = sys.argv[1], sys.argv[2], sys.argv[3], sys.argv[4:]
tree = os.environ.get("TREE", "TREE")
done = {json.loads(l)["name"] for l in open(out)} if os.path.exists(out) else set()
only = None
if os.environ.get("ONLY"):
    only = set(open(os.environ["ONLY"]).read().splitlines())
def build(t):
    a = ["cargo","test","--locked","--offline","--profile","devo","-p",pkg,*t.split("="),"--no-run","--message-format=json"]
    r = subprocess.run(a, cwd=tree, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    exe = [json.loads(l).get("executable") for l in r.stdout.splitlines() if l.startswith("{")]
    exe = [e for e in exe if e]
    return (exe[-1] if r.returncode == 0 and exe else None)
def run(exe, limit):
    p = subprocess.Popen([exe], cwd=f"{tree}/{pkg}", stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True)
    signal.alarm(limit)
    killed = None
    try:
        for line in p.stdout:
            if re.match(r"test .* FAILED$", line.rstrip()):
                killed = line.strip(); break
    except TimeoutError:
        killed = "timeout"
    signal.alarm(0)
    try: os.killpg(p.pid, signal.SIGKILL)
    except ProcessLookupError: pass
    rc = p.wait()
    if killed is None and rc not in (0,): killed = f"exit {rc}"
    return killed
def onalarm(*a): raise TimeoutError
signal.signal(signal.SIGALRM, onalarm)
for m in json.load(open(lst)):
    if m["name"] in done or (only and m["name"] not in only): continue
    while os.path.exists("/tmp/QUIET"): time.sleep(2)
    t0=time.time()
    subprocess.run(["git","checkout","-q","."], cwd=tree)
    p = subprocess.run(["patch","-p0","-s"], input=m["diff"], cwd=tree, text=True, capture_output=True)
    res = {"name": m["name"]}
    if p.returncode: res["outcome"]="patch failed "+p.stdout
    else:
        res["outcome"]="survived"
        for t in tests:
            exe = build(t)
            if not exe: res["outcome"]="unviable"; break
            k = run(exe, int(os.environ.get("LIMIT","240")))
            if k: res["outcome"]=k; res["by"]=t; break
    res["seconds"]=round(time.time()-t0,1)
    with open(out,"a") as f: f.write(json.dumps(res)+"\n")
subprocess.run(["git","checkout","-q","."], cwd=tree)
