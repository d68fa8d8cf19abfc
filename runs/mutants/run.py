"""run.py TREE CRATE LIST SKIP OUT TESTSPEC... : runs every mutant that is compiled in; TESTSPEC --lib, --test=it"""
import json, subprocess, sys, os, re, time, signal, threading
tree, crate, lst, skipf, out = sys.argv[1:6]; specs = sys.argv[6:]
ms=json.load(open(lst)); skip=set(int(x) for x in open(skipf).read().split()) | set(int(x) for x in open(skipf+".special").read().split())
special={i for i,m in enumerate(ms,1) if m["genre"]=="StructField"}; skip|=special
env0=dict(os.environ, RUST_BACKTRACE="0")
cwd=f"{tree}/{crate}"
def build(t):
    a=["nice","-n","6","cargo","test","--locked","--offline","--profile","devo","-p",crate,*t.split("="),"--no-run","--message-format=json"]
    r=subprocess.run(a,cwd=tree,stdout=subprocess.PIPE,stderr=subprocess.PIPE,text=True)
    assert r.returncode==0, r.stderr[-3000:]
    return [json.loads(l)["executable"] for l in r.stdout.splitlines() if l.startswith("{") and json.loads(l).get("executable")][-1]
bins={t:build(t) for t in specs}
print(bins, flush=True)
recf=out+".reach.json"
if os.path.exists(recf): rec=json.load(open(recf))
else:
    rec=[]
    for t,b in bins.items():
        names=[l[:-6] for l in subprocess.run([b,"--list"],cwd=cwd,capture_output=True,text=True).stdout.splitlines() if l.endswith(": test")]
        for n in names:
            p="/tmp/mutrec"; 
            if os.path.exists(p): os.remove(p)
            t0=time.time()
            r=subprocess.run([b,"--exact",n],cwd=cwd,env=dict(env0,MUTANT_RECORD=p),capture_output=True,text=True)
            ids=sorted(set(int(x) for x in open(p).read().split())) if os.path.exists(p) else []
            rec.append({"bin":t,"test":n,"seconds":time.time()-t0,"ids":ids,"ok":r.returncode==0})
            if r.returncode: print("FAILS UNMUTATED",t,n,r.stdout[-500:],flush=True)
    json.dump(rec,open(recf,"w"))
print("recorded", len(rec), sum(r["seconds"] for r in rec), flush=True)
done=set()
if os.path.exists(out): done={json.loads(l)["id"] for l in open(out)}
def run(b,names,env,limit):
    p=subprocess.Popen([b,"--exact",*names],cwd=cwd,env=env,stdout=subprocess.PIPE,stderr=subprocess.DEVNULL,text=True,start_new_session=True)
    to=[False]
    def kill():
        to[0]=True
        try: os.killpg(p.pid,signal.SIGKILL)
        except ProcessLookupError: pass
    tm=threading.Timer(limit,kill); tm.start()
    k=None
    for line in p.stdout:
        m=re.match(r"test (.*) \.\.\. FAILED",line) or re.match(r"test (.*) - should panic \.\.\. FAILED",line)
        if m: k=m.group(1); break
    tm.cancel()
    try: os.killpg(p.pid,signal.SIGKILL)
    except ProcessLookupError: pass
    rc=p.wait()
    if to[0]: return "timeout"
    if k: return k
    return None if rc==0 else f"exit {rc}"
for i,m in enumerate(ms,1):
    if i in skip or i in done: continue
    while os.path.exists("/tmp/QUIET"): time.sleep(2)
    t0=time.time()
    tests=sorted((r for r in rec if i in r["ids"] and r["ok"]),key=lambda r:r["seconds"])
    res={"id":i,"name":m["name"],"tests":len(tests)}
    if not tests: res["outcome"]="not reached"
    else:
        env=dict(env0,MUTANT=str(i)); k=None
        groups=[]
        rest=tests
        for size in (6,40):
            part,rest=rest[:size],rest[size:]
            for t in bins:
                g=[r for r in part if r["bin"]==t]
                if g: groups.append((t,g))
        for t in bins:
            g=[r for r in rest if r["bin"]==t]
            if g: groups.append((t,g))
        for t,g in groups:
            k=run(bins[t],[r["test"] for r in g],env,60+6*sum(r["seconds"] for r in g))
            if k: break
        res["outcome"]="caught" if k else "survived"; res["by"]=k
    res["seconds"]=round(time.time()-t0,1)
    open(out,"a").write(json.dumps(res)+"\n")
print("end",flush=True)
